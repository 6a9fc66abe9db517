"""Marks pairs, one by one or a table at a time, and withdraws what was marked. Every step is one new record."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from ranking import duck
from ranking.datasets import Dataset, dataset_names, get_dataset
from ranking.errors import NotFoundError, UnknownNameError, UsageError
from ranking.flags.book import MARKED, Book, history_of, mark_id_sql, read_book, standing
from ranking.flags.records import FLAGS, Batch, Mark, Withdrawal, flag_folder, parse_record, put_record, put_withdrawal
from ranking.flags.words import check_door, check_kind, check_who, check_why
from ranking.names import utc_now
from ranking.store.blobs import Store
from ranking.store.parquet import new_spill, put_parquet
from ranking.store.trash import settle

_NEAR = 4  # letters of 16 that an id may differ in and still be what was meant


@dataclass(frozen=True)
class Marked:
    """What a table of marks came to: its batch (None where nothing was new), how many marks are new, and how many
    stood before."""

    batch: Batch | None
    new: int
    known: int


def add_mark(
    store: Store, pair_id: str, *, kind: str, by: str, why: str = "", door: str, dataset: str | None = None
) -> tuple[Mark, bool]:
    """Mark a pair, of the named dataset or the first that has it. The mark, and whether it is new: the same person's
    same mark that stands already is given back as it is.

    UnknownNameError with near alternatives for an unknown kind, dataset or pair; UsageError for a name or note that
    does not fit.
    """
    kind, by, why, door = check_kind(kind), check_who(by), check_why(why), check_door(door)
    home = dataset_of(store, pair_id, dataset=dataset)
    mark = Mark(home, pair_id, kind, by, 0, why, door, utc_now())
    while True:
        book = read_book(store, home)
        while mark.id in book.withdrawn:
            mark = replace(mark, turn=mark.turn + 1)
        told = _told_in_batch(store, book, mark)
        if told is not None:
            return told, False
        if put_record(store, mark):
            return mark, True
        # Somebody said so before. Unless that was withdrawn between our look and now, it stands.
        found = parse_record(store.get(mark.key), mark.key)
        withdrawal = Withdrawal(mark.id, home, by, "", door, "")
        if isinstance(found, Mark) and not store.exists(withdrawal.key):
            return found, False


def add_marks(store: Store, dataset: str, marks: pa.Table, *, by: str, why: str = "", door: str = "import") -> Marked:
    """Mark many pairs by one record. `marks` has text columns pair_id and kind, and may have `by` (who judged, where
    that is not who brings them) and `why`. Rows that say what stands already add nothing, so the same table twice is
    one batch.

    UnknownNameError for an unknown kind, or for pairs that the dataset does not have; then nothing is kept.
    """
    by, why, door = check_who(by), check_why(why), check_door(door)
    known = get_dataset(store, dataset)
    book = read_book(store, dataset)
    rows = _normal(marks, by=by)
    with duck.connect(memory_limit=duck.MEMORY, temp_directory=new_spill(store)) as con:
        con.register("given", rows)
        _refuse_strangers(con, store, known)
        _register_state(con, store, book)
        new = duck.arrow(con, _NEW.format(id=mark_id_sql(dataset))).cast(MARKED)
        total = int(con.sql('SELECT count(*) FROM (SELECT DISTINCT pair_id, kind, "by" FROM given)').fetchall()[0][0])
    if not new.num_rows:
        return Marked(None, 0, total)
    data = put_parquet(store, f"{flag_folder(dataset)}/files", MARKED, new.to_batches())
    batch = Batch(dataset, by, 0, why, door, data, utc_now())
    while batch.id in book.withdrawn:
        batch = replace(batch, turn=batch.turn + 1)
    put_record(store, batch)
    settle(store, [data.file])
    return Marked(batch, new.num_rows, total - new.num_rows)


def withdraw(
    store: Store, flag_id: str, *, by: str, why: str = "", door: str, dataset: str | None = None
) -> tuple[Withdrawal, bool]:
    """Withdraw a mark, a whole batch, or one mark of a batch, by its id. The withdrawal, and whether it is new.

    NotFoundError if nothing that was ever said has the id.
    """
    by, why, door = check_who(by), check_why(why), check_door(door)
    home = home_of(store, flag_id, dataset=dataset)
    return put_withdrawal(store, Withdrawal(flag_id, home, by, why, door, utc_now()))


def dataset_of(store: Store, pair_id: str, *, dataset: str | None = None) -> str:
    """The dataset that has the pair: the named one, or the first by name; UnknownNameError with ids that are nearly
    the same."""
    names = [dataset] if dataset is not None else dataset_names(store)
    near: list[str] = []
    for name in names:
        paths = get_dataset(store, name).pairs_paths(store)
        if not paths:
            continue
        with duck.connect() as con:
            pairs = duck.parquet_scan(paths)
            if con.sql(f"SELECT 1 FROM {pairs} WHERE pair_id = ? LIMIT 1", params=[pair_id]).fetchall():
                return name
            found = con.sql(
                f"""SELECT pair_id FROM {pairs}
                    WHERE levenshtein(pair_id, $id) <= {_NEAR} OR starts_with(pair_id, $id)
                    ORDER BY levenshtein(pair_id, $id), pair_id LIMIT 3""",
                params={"id": pair_id[:64]},
            ).fetchall()
        near += [row[0] for row in found]
    where = f"dataset {dataset}" if dataset else "the store"
    hint = f"did you mean {', '.join(near[:3])}" if near else "`/v1/pairs` and the dashboard list them"
    raise UnknownNameError(f"{where} has no pair {pair_id[:64]!r}", hint=hint)


def _told_in_batch(store: Store, book: Book, mark: Mark) -> Mark | None:
    """The same mark as a batch has it, if one that stands does."""
    for row in history_of(store, book, mark.pair_id).to_pylist() if book.batches else ():
        if row["id"] == mark.id and row["withdrawn"] is None and row["source"] != mark.id:
            return replace(mark, why=row["why"], door=row["door"], created=row["created"])
    return None


def home_of(store: Store, flag_id: str, *, dataset: str | None = None) -> str:
    """The dataset whose pairs the flag is on."""
    names = [dataset] if dataset is not None else store.children(FLAGS)
    books: list[Book] = []
    for name in names:
        folder = flag_folder(name)
        if any(store.exists(f"{folder}/{kind}/{flag_id}.json") for kind in ("marks", "batches")):
            return name
        books.append(read_book(store, name))
    for book in books:  # dearer: a mark of a batch has no record of its own
        for batch in book.batches:
            path = store.checked_path(batch.marks.file, batch.marks.sha256)
            with duck.connect() as con:
                query = f"SELECT 1 FROM {duck.parquet_scan([path])} WHERE {mark_id_sql(book.dataset)} = ? LIMIT 1"
                if con.sql(query, params=[flag_id]).fetchall():
                    return book.dataset
    raise NotFoundError(f"there is no flag {flag_id}", hint="`pairsieve flags list` shows them")


def _normal(marks: pa.Table, *, by: str) -> pa.Table:
    """Columns pair_id, kind, by and why, checked; each distinct word is looked at once."""
    given = set(marks.column_names)
    missing = [name for name in ("pair_id", "kind") if name not in given]
    if missing:
        raise UsageError(f"the marks have no column {missing[0]}", code="bad-flag", hint="they need pair_id and kind")
    who = pc.fill_null(marks["by"].cast(pa.string()), by) if "by" in given else None
    return pa.table(
        {
            "pair_id": pc.fill_null(marks["pair_id"].cast(pa.string()), ""),
            "kind": _each(marks["kind"], check_kind),
            "by": _each(who, check_who) if who is not None else _same(marks, by),
            "why": _each(marks["why"], check_why) if "why" in given else _same(marks, ""),
        }
    )


def _same(marks: pa.Table, text: str) -> pa.Array:
    return pa.repeat(pa.scalar(text), marks.num_rows)


def _each(column: pa.ChunkedArray, check: Callable[[str], str]) -> pa.Array:
    texts = pc.fill_null(column.cast(pa.string()), "")
    found = pa.concat_arrays([pa.array([], pa.string()), *texts.chunks]).dictionary_encode()
    words = pa.array([check(word) for word in found.dictionary.to_pylist()], pa.string())
    return words.take(found.indices)


def _refuse_strangers(con: duckdb.DuckDBPyConnection, store: Store, dataset: Dataset) -> None:
    paths = dataset.pairs_paths(store)
    pairs = duck.parquet_scan(paths) if paths else "(SELECT '' AS pair_id LIMIT 0)"
    strange = con.sql(f"SELECT DISTINCT pair_id FROM given ANTI JOIN {pairs} USING (pair_id) ORDER BY 1").fetchall()
    if strange:
        shown = ", ".join(repr(row[0][:40]) for row in strange[:3])
        raise UnknownNameError(
            f"dataset {dataset.name} has no pair {shown}"
            + (f" and {len(strange) - 3:,} more of those given" if len(strange) > 3 else ""),
            hint="nothing was marked; take them out, or name the dataset that has them",
        )


def _register_state(con: duckdb.DuckDBPyConnection, store: Store, book: Book) -> None:
    con.register("standing", standing(store, book).select(["id"]))
    con.register("withdrawn", pa.table({"id": pa.array(sorted(book.withdrawn), pa.string())}))


_NEW = """
WITH RECURSIVE wanted AS (
    SELECT pair_id, kind, "by", min(why) AS why FROM given GROUP BY pair_id, kind, "by"
), turned AS (
    SELECT pair_id, kind, "by", why, 0::INTEGER AS turn FROM wanted
    UNION ALL
    SELECT pair_id, kind, "by", why, turn + 1 FROM turned WHERE {id} IN (SELECT id FROM withdrawn)
)
SELECT pair_id, kind, "by", turn, why FROM turned
WHERE {id} NOT IN (SELECT id FROM withdrawn) AND {id} NOT IN (SELECT id FROM standing)
ORDER BY pair_id, kind, "by", turn
"""
