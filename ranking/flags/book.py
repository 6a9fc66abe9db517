"""All flags of a dataset's pairs read together, and which of them stand: those that somebody said and nobody withdrew.
Writes nothing."""

from collections.abc import MutableMapping
from dataclasses import dataclass, replace

import pyarrow as pa

from ranking import duck
from ranking.flags.records import Batch, Mark, Record, Withdrawal, flag_folder, parse_record, record_keys
from ranking.store.blobs import Store

MARKED: pa.Schema = pa.schema(
    [
        ("pair_id", pa.string()),
        ("kind", pa.string()),
        ("by", pa.string()),
        ("turn", pa.int32()),
        ("why", pa.string()),
    ]
)
"""The rows of a batch's file, sorted by all columns but the last."""

MARKS: pa.Schema = pa.schema(
    [
        ("id", pa.string()),
        ("pair_id", pa.string()),
        ("kind", pa.string()),
        ("by", pa.string()),
        ("created", pa.string()),  # ISO 8601, UTC
        ("why", pa.string()),
        ("door", pa.string()),
        ("source", pa.string()),  # the id of the record that says so: the mark itself, or a batch
    ]
)
"""One row per mark that stands, sorted by pair_id, kind, by and id."""

HISTORY: pa.Schema = pa.schema(
    [*MARKS, ("withdrawn", pa.string()), ("withdrawn_by", pa.string()), ("withdrawn_why", pa.string())]
)
"""MARKS and, of what was withdrawn, when, by whom and why; null for what stands."""


@dataclass(frozen=True)
class Book:
    """The records of one dataset's flags; `withdrawn` by the id of what it ends."""

    dataset: str
    marks: tuple[Mark, ...]
    batches: tuple[Batch, ...]
    withdrawn: dict[str, Withdrawal]

    @property
    def empty(self) -> bool:
        """Whether nobody ever flagged a pair."""
        return not self.marks and not self.batches


def read_book(store: Store, dataset: str, *, known: MutableMapping[str, Record] | None = None) -> Book:
    """The flags of a dataset now. `known` are records read before, by key, which never change: only others are read,
    and added to it. StoreError for a damaged record."""
    seen = known if known is not None else {}
    keys = record_keys(store, flag_folder(dataset))
    new = [key for key in keys if key not in seen]
    seen.update({key: parse_record(data, key) for key, data in zip(new, store.get_all(new), strict=True)})
    records = [seen[key] for key in keys]
    return Book(
        dataset,
        tuple(record for record in records if isinstance(record, Mark)),
        tuple(record for record in records if isinstance(record, Batch)),
        {record.of: record for record in records if isinstance(record, Withdrawal)},
    )


def standing(store: Store, book: Book) -> pa.Table:
    """The marks that stand (MARKS). One that was said in several records is taken from the earliest."""
    if book.empty:
        return MARKS.empty_table()
    columns = ", ".join(duck.identifier(name) for name in MARKS.names)
    return _query(
        store,
        book,
        f"""SELECT {columns} FROM told WHERE withdrawn IS NULL
            QUALIFY row_number() OVER (PARTITION BY id ORDER BY created, source) = 1
            ORDER BY pair_id, kind, "by", id""",
        MARKS,
    )


def history(store: Store, book: Book) -> pa.Table:
    """Everything that was ever said (HISTORY), the newest first, each mark once: where several records say it, from the
    earliest of those that stand, if any does."""
    return _history(store, book, "true") if not book.empty else HISTORY.empty_table()


def history_of(store: Store, book: Book, pair_id: str) -> pa.Table:
    """The same of one pair."""
    mine = replace(book, marks=tuple(mark for mark in book.marks if mark.pair_id == pair_id))
    return _history(store, mine, f"pair_id = {duck.literal(pair_id)}") if not mine.empty else HISTORY.empty_table()


def _history(store: Store, book: Book, where: str) -> pa.Table:
    columns = ", ".join(duck.identifier(name) for name in HISTORY.names)
    return _query(
        store,
        book,
        f"""SELECT {columns} FROM told WHERE {where}
            QUALIFY row_number() OVER (PARTITION BY id ORDER BY withdrawn IS NOT NULL, created, source) = 1
            ORDER BY created DESC, id""",
        HISTORY,
    )


def mark_id_sql(dataset: str) -> str:
    """SQL for the id of a mark of columns pair_id, kind, by and turn: what `records.mark_id` computes."""
    parts = [duck.literal(dataset), "pair_id", "kind", '"by"', "turn::VARCHAR"]
    text = " || ".join(f"strlen({part}) || ':' || {part}" for part in parts)
    return f"sha256({text})[:16]"


def _query(store: Store, book: Book, query: str, schema: pa.Schema) -> pa.Table:
    paths = store.checked_paths((batch.marks.file, batch.marks.sha256) for batch in book.batches)
    with duck.connect(memory_limit=duck.MEMORY) as con:
        con.register("single", _singles(book))
        con.register("withdrawals", _withdrawals(book))
        told = ['SELECT pair_id, kind, "by", turn, why, created, door, source FROM single']
        for batch, path in zip(book.batches, paths, strict=True):
            told.append(
                f"""SELECT pair_id, kind, "by", turn, why, {duck.literal(batch.created)}, {duck.literal(batch.door)},
                    {duck.literal(batch.id)} FROM {duck.parquet_scan([path])}"""
            )
        con.execute(
            f"""CREATE VIEW told AS
                SELECT said.*, coalesce(w.created, v.created) AS withdrawn,
                    coalesce(w."by", v."by") AS withdrawn_by, coalesce(w.why, v.why) AS withdrawn_why
                FROM (SELECT {mark_id_sql(book.dataset)} AS id, * FROM ({" UNION ALL ".join(told)})) said
                LEFT JOIN withdrawals w ON w."of" = said.id
                LEFT JOIN withdrawals v ON v."of" = said.source AND said.source <> said.id"""
        )
        return duck.arrow(con, query).cast(schema).combine_chunks()


def _singles(book: Book) -> pa.Table:
    rows = [
        {
            "pair_id": mark.pair_id,
            "kind": mark.kind,
            "by": mark.by,
            "turn": mark.turn,
            "why": mark.why,
            "created": mark.created,
            "door": mark.door,
            "source": mark.id,
        }
        for mark in book.marks
    ]
    return pa.Table.from_pylist(rows, schema=pa.schema([*MARKED, *(MARKS.field(n) for n in _OF_RECORD)]))


def _withdrawals(book: Book) -> pa.Table:
    rows = [
        {"of": each.of, "created": each.created, "by": each.by, "why": each.why} for each in book.withdrawn.values()
    ]
    return pa.Table.from_pylist(
        rows, schema=pa.schema([(name, pa.string()) for name in ("of", "created", "by", "why")])
    )


_OF_RECORD = ("created", "door", "source")
