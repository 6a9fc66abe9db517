"""Columns that stand beside a wide table: computed once for a snapshot or a revision, when somebody first asks, and
kept. Derivable, so deletable. Computes none itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pyarrow as pa

from ranking.errors import StoreError
from ranking.features.fields import Field
from ranking.names import canonical_json
from ranking.store.kept import kept_file
from ranking.store.parquet import SCANNED, DataFile, put_parquet

if TYPE_CHECKING:
    from ranking.features.pairs import PairTable


Scope = Literal["snapshot", "revision"]
"""What columns depend on: scores and all else that a snapshot holds, or a dataset's revision alone, so that they stay
good for every later snapshot that sees the same revision."""


@dataclass(frozen=True)
class ColumnSet:
    """Columns that are computed together.

    `build(table)` gives them for every row of a wide table, in its order, as batches with the columns `schema`; it
    must give the same bytes on any machine. Raise `version` when that changes: what was kept is then stale. `fields`
    describe the columns, in the order of the schema. A set of a family is named "family.member".
    """

    name: str
    version: int
    schema: pa.Schema
    fields: tuple[Field, ...]
    build: Callable[[PairTable], Iterable[pa.RecordBatch]]
    scope: Scope = "snapshot"


@dataclass(frozen=True)
class ColumnFamily:
    """Column sets of one making: `members(scorers)` gives those of a snapshot with these scorers, each named
    "name.member" and of this version."""

    name: str
    version: int
    members: Callable[[Sequence[str]], tuple[ColumnSet, ...]]


@dataclass(frozen=True)
class Columns:
    """A column set as it is kept: which one, of which dataset, for which snapshot or revision (its hash), and its
    file."""

    name: str
    version: int
    dataset: str
    of: str
    table: DataFile


def columns_key(table: PairTable, columns: ColumnSet) -> str:
    """Where a column set of a table is, or will be, described."""
    return f"{_folder(table, columns)}/{table.dataset}/{columns.name}.v{columns.version}.json"


def find_columns(table: PairTable, columns: ColumnSet) -> Path | None:
    """The file of a column set that was computed before and is whole, or None. Computes nothing."""
    return kept_file(table.store, columns_key(table, columns), Columns)


def _folder(table: PairTable, columns: ColumnSet) -> str:
    return f"columns/{_of(table, columns)[:16]}"


def _of(table: PairTable, columns: ColumnSet) -> str:
    """The hash of what the columns depend on. Where a snapshot leaves pairs of the revision out, its rows are its
    own."""
    by_revision = columns.scope == "revision" and table.whole
    return table.snapshot.datasets[table.dataset].sha if by_revision else table.snapshot.sha


def column_file(table: PairTable, columns: ColumnSet) -> Path:
    """The Parquet file with the columns of a set for every row of the table, in its order.

    Built on the first call, hashed on every other; one that is damaged or lost is built again.
    """
    store, key = table.store, columns_key(table, columns)
    found = kept_file(store, key, Columns)
    if found is None:
        table.confirm()  # nothing is kept that was computed from a file whose hash is still to come
        file = put_parquet(store, _folder(table, columns), columns.schema, columns.build(table), layout=SCANNED)
        if file.rows != table.wide.table.rows:
            raise StoreError(f"{key} has {file.rows} rows for {table.wide.table.rows} pairs", code="damaged")
        kept = Columns(columns.name, columns.version, table.dataset, _of(table, columns), file)
        store.put_if_absent(key, canonical_json(asdict(kept)))
        found = kept_file(store, key, Columns)
    if found is None:
        raise StoreError(f"{key} was damaged while it was built", code="damaged", hint="try again")
    return found
