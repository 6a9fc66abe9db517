"""Columns that stand beside a wide table: computed once per snapshot and dataset, when somebody first asks, and kept.
Derivable, so deletable. Computes none itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from ranking.errors import UNUSABLE, NotFoundError, StoreError
from ranking.features.fields import Field
from ranking.names import canonical_json, parse_json
from ranking.store.blobs import Store
from ranking.store.parquet import SCANNED, DataFile, put_parquet
from ranking.store.snapshots import Snapshot

if TYPE_CHECKING:
    from ranking.features.pairs import PairTable


@dataclass(frozen=True)
class ColumnSet:
    """Columns that are computed together.

    `build(table)` gives them for every row of a wide table, in its order, as batches with the columns `schema`; it
    must give the same bytes on any machine. Raise `version` when that changes: what was kept is then stale. `fields`
    describe the columns, in the order of the schema.
    """

    name: str
    version: int
    schema: pa.Schema
    fields: tuple[Field, ...]
    build: Callable[[PairTable], Iterable[pa.RecordBatch]]


@dataclass(frozen=True)
class Columns:
    """A column set as it is kept: which one, of which snapshot and dataset, and its file."""

    name: str
    version: int
    dataset: str
    snapshot: str
    table: DataFile


def columns_key(snapshot: Snapshot, dataset: str, columns: ColumnSet) -> str:
    """Where a column set of a snapshot's dataset is, or will be, described."""
    return f"columns/{snapshot.sha[:16]}/{dataset}.{columns.name}.v{columns.version}.json"


def column_file(table: PairTable, columns: ColumnSet) -> Path:
    """The Parquet file with the columns of a set for every row of the table, in its order.

    Built on the first call, hashed on every other; one that is damaged or lost is built again.
    """
    store, key = table.store, columns_key(table.snapshot, table.dataset, columns)
    found = _find(store, key)
    if found is None:
        folder = f"columns/{table.snapshot.sha[:16]}"
        file = put_parquet(store, folder, columns.schema, columns.build(table), layout=SCANNED)
        if file.rows != table.wide.table.rows:
            raise StoreError(f"{key} has {file.rows} rows for {table.wide.table.rows} pairs", code="damaged")
        kept = Columns(columns.name, columns.version, table.dataset, table.snapshot.sha, file)
        store.put_if_absent(key, canonical_json(asdict(kept)))
        found = _find(store, key)
    if found is None:
        raise StoreError(f"{key} was damaged while it was built", code="damaged", hint="try again")
    return found


def _find(store: Store, key: str) -> Path | None:
    if not store.exists(key):
        return None
    kept: Columns | None = None
    try:
        record: dict[str, Any] = parse_json(store.get(key), where=key)
        kept = Columns(**record | {"table": DataFile(**record["table"])})
        return store.checked_path(kept.table.file, kept.table.sha256)
    except (KeyError, TypeError, NotFoundError, StoreError) as error:
        if isinstance(error, StoreError) and error.code == UNUSABLE:
            raise  # a store out of reach has damaged nothing
    store.delete(key)
    if kept is not None:
        store.delete(kept.table.file)
    return None
