"""I2 and I6: the rows of every scorer are the slice's items, and no score is what a score may not be."""

import shutil
import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ranking import duck
from ranking.audit.holdings import Holdings
from ranking.audit.report import Ledger
from ranking.datasets import Revision, Slice
from ranking.errors import PairsieveError
from ranking.schema import OK, STATUSES
from ranking.store.blobs import Store
from ranking.store.commits import Commit
from ranking.store.parquet import DataFile, read_runs
from ranking.store.shards import EMBEDDING_SHARD, SCORE_SHARD, embedding_flaw, kind_of

_KEYS = ["image_uid", "prompt_id"]
_AGAIN = "restore it from a copy, or remove its marker and file and score the unit again"


def check_rows(store: Store, held: Holdings, ledger: Ledger) -> None:
    """Read every committed file beside the items of its slice, one items file at a time."""
    by_unit: dict[str, list[Commit]] = defaultdict(list)
    for commit in held.commits.values():
        by_unit[commit.unit].append(commit)
    total, done = len(held.commits), 0
    for name, revisions in held.revisions.items():
        for revision in revisions:
            if revision.items is None or revision.items.file in ledger.damaged:
                continue
            for piece, items in _slices(store, revision.items, revision.slices):
                for commit in by_unit[piece.unit]:
                    if commit.file not in ledger.damaged:
                        _check_shard(store, ledger, commit, items)
                    done += 1
                    ledger.progress("reading rows", done, total)
        if not any(part.file in ledger.damaged for revision in revisions for part in revision.files):
            _check_dataset(store, ledger, name, revisions)


def _slices(store: Store, data: DataFile, slices: Iterable[Slice]) -> Iterator[tuple[Slice, pa.Table]]:
    """The slices of an items file in its order, each with its keys; every row group is read once."""
    pieces = sorted(slices, key=lambda piece: piece.start)
    runs = [(piece.start, piece.rows) for piece in pieces]
    yield from zip(pieces, read_runs(store.local(data.file), runs, columns=_KEYS), strict=True)


def _check_shard(store: Store, ledger: Ledger, commit: Commit, items: pa.Table) -> None:
    kind = kind_of(commit.scorer_id)
    try:
        table = pq.read_table(store.local(commit.file), page_checksum_verification=True, partitioning=None)
    except (pa.ArrowException, OSError, PairsieveError) as error:
        if store.exists(commit.file):
            ledger.error(3, commit.file, f"{commit.file} cannot be read ({error})")
        return
    ledger.count(2, f"files of {kind.what}")
    ledger.count(2, "rows", table.num_rows)
    if not table.schema.equals(kind.schema):
        ledger.error(2, commit.file, f"{commit.file} has other columns than {', '.join(kind.schema.names)}", _AGAIN)
        return
    wanted = kind.keys(items)
    flaw = _flaw_of_keys(table.select(wanted.column_names), wanted)
    if flaw:
        ledger.error(2, commit.file, f"{commit.file} {flaw}", _AGAIN)
    if kind is SCORE_SHARD:
        _check_scores(ledger, commit, table)
    elif kind is EMBEDDING_SHARD:
        _check_embeddings(ledger, commit, table)
    bad = table.num_rows - (pc.sum(pc.equal(table["status"], OK)).as_py() or 0)
    if bad != commit.n_bad:
        ledger.error(3, commit.file, f"{commit.file} has {bad} rows without a value, not the {commit.n_bad} recorded")


def _flaw_of_keys(found: pa.Table, wanted: pa.Table) -> str | None:
    if found.cast(wanted.schema).combine_chunks().equals(wanted):
        return None
    names = wanted.column_names
    distinct = found.group_by(names).aggregate([]).num_rows
    if distinct != found.num_rows:
        return f"has {found.num_rows - distinct} rows twice"
    if found.num_rows != wanted.num_rows:
        return f"has {found.num_rows} rows, not the {wanted.num_rows} of its slice"
    strange = found.join(wanted, names, join_type="left anti").num_rows
    return (
        f"has {strange} rows that are not of its slice" if strange else "has its rows in another order than its slice"
    )


def _check_scores(ledger: Ledger, commit: Commit, table: pa.Table) -> None:
    ledger.count(6, "scores", table.num_rows)
    score, status = table["score"], table["status"]
    wild = pc.sum(pc.invert(pc.is_finite(score))).as_py() or 0
    if wild:
        ledger.error(6, commit.file, f"{commit.file} has {wild} scores that are NaN or infinite", _AGAIN)
    unknown = sorted({str(word) for word in pc.unique(status).to_pylist()} - set(STATUSES))
    if unknown:
        ledger.error(6, commit.file, f"{commit.file} has the unknown status {', '.join(unknown)}", _AGAIN)
    wrong = pc.sum(pc.not_equal(pc.is_valid(score), pc.fill_null(pc.equal(status, OK), False))).as_py() or 0
    if wrong:
        ledger.error(6, commit.file, f"{commit.file} has {wrong} scores without status ok, or the reverse", _AGAIN)


def _check_embeddings(ledger: Ledger, commit: Commit, table: pa.Table) -> None:
    ledger.count(6, "embeddings", table.num_rows)
    flaw = embedding_flaw(table)
    if flaw:
        ledger.error(6, commit.file, f"{commit.file}: {flaw}", _AGAIN)


def _check_dataset(store: Store, ledger: Ledger, name: str, revisions: list[Revision]) -> None:
    """Over all revisions: no pair and no item twice, every item in the slice it says, every pair's positions
    those of its images."""
    spill = store.tmp() / f"audit-{uuid.uuid4().hex}.spill"
    try:
        with duck.connect(memory_limit=duck.MEMORY, temp_directory=spill) as con:
            items = [revision.items for revision in revisions if revision.items is not None]
            pairs = [revision.pairs for revision in revisions if revision.pairs is not None]
            if not items or not pairs:
                return
            _view(con, "items", [store.local(part.file) for part in items])
            _view(con, "pairs", [store.local(part.file) for part in pairs])
            _register_slices(con, revisions)
            for what, query in _QUERIES.items():
                wrong = int(con.sql(query).fetchall()[0][0])
                if wrong:
                    ledger.error(2, f"datasets/{name}", f"dataset {name} has {wrong} {what}")
            ledger.count(2, "items", int(con.sql("SELECT count(*) FROM items").fetchall()[0][0]))
            ledger.count(2, "pairs", int(con.sql("SELECT count(*) FROM pairs").fetchall()[0][0]))
    except (duckdb.Error, PairsieveError) as error:
        ledger.error(3, f"datasets/{name}", f"the files of dataset {name} cannot be read ({error})")
    finally:
        shutil.rmtree(spill, ignore_errors=True)


def _view(con: duckdb.DuckDBPyConnection, name: str, paths: list[object]) -> None:
    """A view of files one after the other, each row with its `position` over all of them."""
    parts, before = [], 0
    for path in paths:
        scan = f"read_parquet([{duck.literal(str(path))}], file_row_number=true)"
        parts.append(f"SELECT *, {before} + file_row_number AS position FROM {scan}")
        before += pq.read_metadata(path).num_rows
    con.execute(f"CREATE VIEW {name} AS {' UNION ALL BY NAME '.join(parts)}")


def _register_slices(con: duckdb.DuckDBPyConnection, revisions: list[Revision]) -> None:
    before, rows = 0, []
    for revision in revisions:
        rows += [(piece.unit, before + piece.start, before + piece.start + piece.rows) for piece in revision.slices]
        before += revision.items.rows if revision.items else 0
    con.register(
        "slices", pa.table([list(column) for column in zip(*rows, strict=True)] or [[], [], []], names=["u", "b", "e"])
    )


_TWICE = "SELECT coalesce(sum(n - 1), 0) FROM (SELECT count(*) AS n FROM {} GROUP BY {} HAVING n > 1)"
_QUERIES = {
    "pairs twice": _TWICE.format("pairs", "pair_id"),
    "items twice": _TWICE.format("items", "image_uid, prompt_id"),
    "items in another slice than they say": """
        SELECT count(*) FROM items ASOF LEFT JOIN slices ON position >= b
        WHERE coalesce(position >= e OR slice <> u, true)""",
    "pairs whose images are not where they say": """
        SELECT count(*) FROM pairs
        LEFT JOIN items first ON first.position = item_0
        LEFT JOIN items second ON second.position = item_1
        WHERE first.image_uid IS DISTINCT FROM image_0_uid OR first.prompt_id IS DISTINCT FROM pairs.prompt_id
           OR second.image_uid IS DISTINCT FROM image_1_uid OR second.prompt_id IS DISTINCT FROM pairs.prompt_id""",
}
"""What must be nothing, by what it is called."""
