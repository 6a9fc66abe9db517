"""I8: wide tables and subsets again, by plain joins on names. Shares no code with what built them."""

import shutil
import uuid

import duckdb
import pyarrow.parquet as pq

from ranking import duck
from ranking.audit import brute
from ranking.audit.holdings import Holdings
from ranking.audit.report import Ledger
from ranking.collection.derived import derived_files, describes
from ranking.datasets import Revision
from ranking.errors import NotFoundError, PairsieveError
from ranking.flags.pinned import pinned_marks, pinned_takedowns
from ranking.schema import PAIRS
from ranking.store.blobs import Store
from ranking.store.shards import FACT_SHARD, kind_of
from ranking.store.snapshots import Member, Snapshot, get_snapshot
from ranking.subsets.catalog import subset_pairs
from ranking.subsets.recipe import parse_recipe
from ranking.subsets.select import selected_pairs

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
            again = selected_pairs(store, snapshot, parse_recipe(subset.recipe))
            kept = subset_pairs(store, subset)
        except (PairsieveError, duckdb.Error, OSError) as error:
            ledger.error(8, subset.pairs_key, f"subset {subset.ref} cannot be selected again ({error})")
            continue
        ledger.count(8, "subsets")
        if not kept.equals(again):
            ledger.error(8, subset.pairs_key, f"subset {subset.ref} is not what its recipe selects from its snapshot")


def _table(store: Store, held: Holdings, sha: str, dataset: str) -> str | None:
    """The file of a dataset's wide table, if it is built; what is not is not built for an audit."""
    key = next((key for key in held.entries if key.startswith(f"wide/{sha[:16]}/{dataset}.v")), None)
    if key is None or not describes(key, frozenset([sha])):
        return None
    return next((part.file for part in derived_files(store, frozenset([sha])).get(key, ())), None)


def _check_snapshot(store: Store, held: Holdings, ledger: Ledger, snapshot: Snapshot) -> None:
    for name, pin in snapshot.datasets.items():
        revisions = held.revisions.get(name, [])[: pin.revision]
        units = {piece.unit for revision in revisions for piece in revision.slices}
        members = [member for member in snapshot.members if member.unit in units]
        files = [part.file for revision in revisions for part in revision.files]
        table = _table(store, held, snapshot.sha, name)
        if table is None or not any(revision.pairs for revision in revisions):
            continue
        if ledger.damaged.intersection([table, *files, *(member.file for member in members)]):
            ledger.note(8, table, f"the wide table of {name} was not recomputed, as a file is damaged")
            continue
        spill = store.tmp() / f"audit-{uuid.uuid4().hex}.spill"
        try:
            with duck.connect(memory_limit=duck.MEMORY, temp_directory=spill) as con:
                _compare(con, store, ledger, table, snapshot, name, members, revisions)
        except (duckdb.Error, PairsieveError, OSError) as error:
            what = f"the wide table of {name} in snapshot {snapshot.n} cannot be read ({error})"
            ledger.error(8, table, what, _REBUILD)
        finally:
            shutil.rmtree(spill, ignore_errors=True)


def _compare(
    con: duckdb.DuckDBPyConnection,
    store: Store,
    ledger: Ledger,
    key: str,
    snapshot: Snapshot,
    dataset: str,
    members: list[Member],
    revisions: list[Revision],
) -> None:
    wide = store.local(key)
    pairs = [store.local(revision.pairs.file) for revision in revisions if revision.pairs]
    con.execute(f"CREATE VIEW wide AS SELECT * FROM {duck.parquet_scan([wide])}")
    con.execute(f"CREATE VIEW every_pair AS SELECT * FROM {duck.parquet_scan(pairs)}")
    facts = [store.local(member.file) for member in members if kind_of(member.scorer_id) is FACT_SHARD]
    con.register("marks", pinned_marks(store, snapshot.flags, dataset).select(["pair_id", "kind"]))
    con.register("takedowns", pinned_takedowns(store, snapshot.flags))
    con.execute(f"CREATE VIEW hidden AS {brute.hidden(facts, dataset)}")
    con.execute("""CREATE VIEW pairs AS SELECT * FROM every_pair
        WHERE image_0_uid NOT IN (SELECT uid FROM hidden) AND image_1_uid NOT IN (SELECT uid FROM hidden)""")
    columns = pq.read_schema(wide).names
    plain = {name: f"pairs.{duck.identifier(name)}" for name in PAIRS.names if name not in ("item_0", "item_1")}
    _differences(con, ledger, key, "SELECT * FROM pairs", plain)
    _differences(con, ledger, key, brute.COUNTED, {name: f"pairs.{name}" for name in brute.COUNTED_COLUMNS})
    _differences(con, ledger, key, brute.MARKED, {name: f"pairs.{name}" for name in brute.MARKED_COLUMNS})
    for done, (name, scorer_id) in enumerate(snapshot.scorers.items()):
        ledger.progress("recomputing scores", done, len(snapshot.scorers))
        paths = [store.local(member.file) for member in members if member.scorer_id == scorer_id]
        _differences(con, ledger, key, brute.scores(paths), brute.score_columns(name))
    if facts:
        _differences(con, ledger, key, brute.facts(facts), {name: f"pairs.{name}" for name in brute.FACT_COLUMNS})
    rated = [store.local(revision.ratings.file) for revision in revisions if revision.ratings]
    if rated:
        found = con.sql(f"SELECT DISTINCT name FROM {duck.parquet_scan(rated)} ORDER BY name").fetchall()
        for (kind,) in found:
            _differences(con, ledger, key, brute.ratings(rated, kind), brute.rating_columns(kind))
    gaps = [duck.identifier(f"{name}.gap") for name in snapshot.scorers]
    for column, condition in (("votes", "<> 0"), ("agree_votes", "> 0")):
        total = " + ".join(["0", *(f"coalesce(({gap} {condition})::INTEGER, 0)" for gap in gaps)])
        _differences(con, ledger, key, f"SELECT pair_id, {total} AS total FROM wide", {column: "pairs.total"})
    ledger.count(8, "wide tables")
    ledger.count(8, "cells", pq.read_metadata(wide).num_rows * len(columns))


def _differences(con: duckdb.DuckDBPyConnection, ledger: Ledger, key: str, plain: str, columns: dict[str, str]) -> None:
    """Put down every column in which the table differs from a plain query over the same pairs."""
    found = set(con.sql("SELECT * FROM wide LIMIT 0").columns)
    for lacking in sorted(set(columns) - found):
        ledger.error(8, key, f"{key} has no column {lacking}", _REBUILD)
    names = [name for name in columns if name in found]
    checks = [f"count(*) FILTER (wide.{duck.identifier(name)} IS DISTINCT FROM {columns[name]})" for name in names]
    query = f"SELECT {', '.join(checks)} FROM wide FULL JOIN ({plain}) pairs USING (pair_id)"
    for name, wrong in zip(names, con.sql(query).fetchall()[0], strict=True):
        if wrong:
            ledger.error(8, key, f"{key} has {wrong} wrong cells in {name}", _REBUILD)
