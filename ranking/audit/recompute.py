"""I8: wide tables and subsets again, by plain joins on names. Shares no code with what built them."""

import shutil
import uuid
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from ranking import duck
from ranking.audit.holdings import Holdings
from ranking.audit.report import Ledger
from ranking.collection.derived import derived_files, describes
from ranking.errors import NotFoundError, PairsieveError
from ranking.schema import PAIRS, SUBSET_PAIRS
from ranking.store.blobs import Store
from ranking.store.snapshots import Member, Snapshot, get_snapshot
from ranking.subsets.catalog import Subset, subset_pairs
from ranking.subsets.recipe import parse_recipe
from ranking.subsets.select import rank

_REBUILD = "remove it: it is built again from the scores"
_SAMPLE = 3


def check_wide(store: Store, held: Holdings, ledger: Ledger, newest: Snapshot | None, *, every: bool) -> None:
    """The wide tables that exist for the newest snapshot, or with `every` for all, cell by cell."""
    numbers = held.snapshots if every else []
    for n in numbers:
        if newest is None or n != newest.n:
            try:
                _check_snapshot(store, held, ledger, get_snapshot(store, n))
            except NotFoundError:
                continue
            except PairsieveError:
                continue  # said where snapshots are read
    if newest is not None:
        _check_snapshot(store, held, ledger, newest)


def check_subsets(store: Store, held: Holdings, ledger: Ledger, *, every: bool) -> None:
    """The newest few subsets, or with `every` all, selected again from what they cite."""
    subsets = sorted(held.subsets.values(), key=lambda subset: (subset.created, subset.ref))
    chosen = subsets if every else subsets[-_SAMPLE:]
    for done, subset in enumerate(chosen):
        ledger.progress("selecting subsets", done, len(chosen))
        if subset.pairs_key in ledger.damaged or not (
            every or _table(store, held, subset.snapshot.sha, subset.dataset)
        ):
            continue
        try:
            snapshot = get_snapshot(store, subset.snapshot.n)
            if snapshot.sha != subset.snapshot.sha or any(m.file in ledger.damaged for m in snapshot.members):
                continue
            again, kept = _select(store, snapshot, subset), subset_pairs(store, subset)
        except (PairsieveError, duckdb.Error, OSError) as error:
            ledger.error(8, subset.pairs_key, f"subset {subset.ref} cannot be selected again ({error})")
            continue
        ledger.count(8, "subsets")
        if not kept.equals(again):
            ledger.error(8, subset.pairs_key, f"subset {subset.ref} is not what its recipe selects from its snapshot")


def _select(store: Store, snapshot: Snapshot, subset: Subset) -> pa.Table:
    ranked = rank(store, snapshot, parse_recipe(subset.recipe))
    taken = ranked.filter(ranked["taken"]).select(SUBSET_PAIRS.names)
    places = pa.array(range(1, taken.num_rows + 1), pa.int64())
    return taken.set_column(taken.schema.get_field_index("rank"), "rank", places).cast(SUBSET_PAIRS).combine_chunks()


def _table(store: Store, held: Holdings, sha: str, dataset: str) -> str | None:
    """The file of a dataset's wide table, if it is built; what is not is not built for an audit."""
    for key in held.entries:
        if key.startswith(f"wide/{sha[:16]}/{dataset}.v") and describes(key, frozenset([sha])):
            if key.endswith(".parquet"):
                return key
            return next((part.file for part in derived_files(store, frozenset([sha])).get(key, ())), None)
    return None


def _check_snapshot(store: Store, held: Holdings, ledger: Ledger, snapshot: Snapshot) -> None:
    for name, pin in snapshot.datasets.items():
        revisions = held.revisions.get(name, [])[: pin.revision]
        files = [revision.pairs.file for revision in revisions if revision.pairs]
        units = {piece.unit for revision in revisions for piece in revision.slices}
        members = [m for m in snapshot.members if m.unit in units and m.scorer_id in snapshot.scorers.values()]
        table = _table(store, held, snapshot.sha, name)
        if not files or table is None:
            continue
        if ledger.damaged.intersection([table, *files, *(member.file for member in members)]):
            ledger.note(8, f"wide/{snapshot.sha[:16]}/{name}", "not recomputed, as a file is damaged")
            continue
        key = table
        spill = store.tmp() / f"audit-{uuid.uuid4().hex}.spill"
        try:
            wide = store.local(table)
            with duck.connect(memory_limit=duck.MEMORY, temp_directory=spill) as con:
                con.execute(f"CREATE VIEW wide AS SELECT * FROM {duck.parquet_scan([wide])}")
                con.execute(f"CREATE VIEW pairs AS SELECT * FROM {duck.parquet_scan([store.local(f) for f in files])}")
                _compare(con, store, ledger, key, snapshot, members, wide)
        except (duckdb.Error, PairsieveError, OSError) as error:
            ledger.error(
                8, key, f"the wide table of {name} in snapshot {snapshot.n} cannot be read ({error})", _REBUILD
            )
        finally:
            shutil.rmtree(spill, ignore_errors=True)


def _compare(
    con: duckdb.DuckDBPyConnection,
    store: Store,
    ledger: Ledger,
    key: str,
    snapshot: Snapshot,
    members: list[Member],
    wide: Path,
) -> None:
    columns = pq.read_schema(wide).names
    plain = {name: f"pairs.{duck.identifier(name)}" for name in PAIRS.names if name in columns}
    _differences(con, ledger, key, "SELECT * FROM pairs", plain)
    for done, (name, scorer_id) in enumerate(snapshot.scorers.items()):
        ledger.progress("recomputing scores", done, len(snapshot.scorers))
        paths = [store.local(member.file) for member in members if member.scorer_id == scorer_id]
        _differences(con, ledger, key, _by_brute_force(paths), _score_columns(name))
    gaps = [f"{duck.identifier(f'{name}.gap')}" for name in snapshot.scorers if f"{name}.gap" in columns]
    for column, condition in (("votes", "<> 0"), ("agree_votes", "> 0")):
        if column in columns:
            total = " + ".join(["0", *(f"coalesce(({gap} {condition})::INTEGER, 0)" for gap in gaps)])
            wrong = int(
                con.sql(f"SELECT count(*) FROM wide WHERE {column} IS DISTINCT FROM ({total})").fetchall()[0][0]
            )
            if wrong:
                ledger.error(8, key, f"{key} has {wrong} wrong cells in {column}", _REBUILD)
    ledger.count(8, "wide tables")
    ledger.count(8, "cells", pq.read_metadata(wide).num_rows * len(columns))


def _by_brute_force(paths: list[Path]) -> str:
    """Each pair with its images' rows, found by the names of image and prompt among all rows of a scorer."""
    nothing = (
        "(SELECT NULL::VARCHAR image_uid, NULL::VARCHAR prompt_id, NULL::FLOAT score, NULL::VARCHAR status LIMIT 0)"
    )
    rows = duck.parquet_scan(paths) if paths else nothing
    side = "LEFT JOIN {rows} {name} ON {name}.image_uid = p.{uid} AND {name}.prompt_id = p.prompt_id"
    return f"""
        SELECT p.pair_id, a.score AS score_0, b.score AS score_1, a.status AS status_0, b.status AS status_1,
            CASE WHEN p.winner = 0 THEN a.score::DOUBLE - b.score::DOUBLE
                 WHEN p.winner = 1 THEN b.score::DOUBLE - a.score::DOUBLE END AS gap
        FROM pairs p {side.format(rows=rows, name="a", uid="image_0_uid")}
        {side.format(rows=rows, name="b", uid="image_1_uid")}"""


def _score_columns(name: str) -> dict[str, str]:
    mine = {".0": "score_0", ".1": "score_1", ".gap": "gap", ".status_0": "status_0", ".status_1": "status_1"}
    return {f"{name}{ending}": f"pairs.{column}" for ending, column in mine.items()}


def _differences(con: duckdb.DuckDBPyConnection, ledger: Ledger, key: str, plain: str, columns: dict[str, str]) -> None:
    """Put down every column in which the table differs from a plain query over the same pairs."""
    found = set(con.sql("SELECT * FROM wide LIMIT 0").columns)
    for lacking in sorted(set(columns) - found):
        ledger.error(8, key, f"{key} has no column {lacking}", _REBUILD)
    checks = [
        f"count(*) FILTER (wide.{duck.identifier(name)} IS DISTINCT FROM {value})"
        for name, value in columns.items()
        if name in found
    ]
    query = f"SELECT {', '.join(checks)} FROM wide FULL JOIN ({plain}) pairs USING (pair_id)"
    counts = con.sql(query).fetchall()[0]
    for name, wrong in zip([name for name in columns if name in found], counts, strict=True):
        if wrong:
            ledger.error(8, key, f"{key} has {wrong} wrong cells in {name}", _REBUILD)
