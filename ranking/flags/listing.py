"""Flags as tables for people: of all datasets, filtered, newest first, with what was withdrawn. Decides nothing."""

from collections.abc import MutableMapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ranking.datasets import dataset_names, get_dataset
from ranking.flags.book import HISTORY, Book, history, history_of, read_book
from ranking.flags.records import FLAGS, Record, TakeDown, Withdrawal
from ranking.flags.takedowns import read_takedowns
from ranking.flags.words import check_kind
from ranking.store.blobs import Store

LISTED: pa.Schema = pa.schema([("dataset", pa.string()), *HISTORY])
"""HISTORY of several datasets."""


def list_marks(
    store: Store,
    *,
    dataset: str | None = None,
    pair: str | None = None,
    kind: str | None = None,
    by: str | None = None,
    withdrawn: bool = False,
    known: MutableMapping[str, Record] | None = None,
) -> pa.Table:
    """The marks that fit (LISTED), newest first, then by id; of what was withdrawn only if asked for.
    UnknownNameError for an unknown dataset or kind."""
    if dataset is not None:
        get_dataset(store, dataset)
    flagged = [name for name in dataset_names(store) if name in store.children(FLAGS)]
    names = flagged if dataset is None else [dataset]
    parts = [LISTED.empty_table()]
    for name in names:
        book = read_book(store, name, known=known)
        table = _history(store, book, pair)
        if not withdrawn:
            table = table.filter(pc.is_null(table["withdrawn"]))
        if kind is not None:
            table = table.filter(pc.equal(table["kind"], check_kind(kind)))
        if by is not None:
            table = table.filter(pc.equal(table["by"], by))
        parts.append(table.add_column(0, "dataset", pa.repeat(pa.scalar(name), table.num_rows)).cast(LISTED))
    found = pa.concat_tables(parts)
    order = [("created", "descending"), ("id", "ascending"), ("source", "ascending")]
    return found.sort_by(order)


def list_takedowns(store: Store) -> list[dict[str, Any]]:
    """Every take-down, newest first, with `withdrawn`, `withdrawn_by` and `withdrawn_why`, null where it stands."""
    records = read_takedowns(store)
    ends = {record.of: record for record in records if isinstance(record, Withdrawal)}
    rows = []
    for record in records:
        if isinstance(record, TakeDown):
            end = ends.get(record.id)
            names = ("id", "dataset", "uid", "sha256", "by", "created", "why", "door")
            row = {name: getattr(record, name) for name in names}
            row |= {"withdrawn": end.created if end else None}
            rows.append(row | {"withdrawn_by": end.by if end else None, "withdrawn_why": end.why if end else None})
    return sorted(rows, key=lambda row: (row["created"], row["id"]), reverse=True)


def _history(store: Store, book: Book, pair: str | None) -> pa.Table:
    return history(store, book) if pair is None else history_of(store, book, pair)
