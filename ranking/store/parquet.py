"""Writes Parquet that is the same bytes for the same rows, and puts it where its content says. No meaning of
columns."""

import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from ranking.errors import StoreError
from ranking.names import sha256_file
from ranking.store.blobs import Store, clear_errors

ROW_GROUP = 65_536


@dataclass(frozen=True)
class Layout:
    """How a file is laid out: its compression, rows in a row group, whether numbers get dictionaries too, and whether
    each page has a checksum beside the file's own hash."""

    compression: str = "zstd"
    row_group: int = ROW_GROUP
    dictionaries: bool = True
    checksums: bool = True


LASTING = Layout()
"""For what is kept: small."""

SCANNED = Layout("none", 61_440, dictionaries=False, checksums=False)
"""For what is derived and read whole again and again: quick to write and to scan. Two of its row groups are one of
DuckDB's, which shares them out evenly among threads."""

VECTORS = Layout(dictionaries=False)
"""For vectors, of which no two numbers need be equal. In plain encoding, the only one of float16 that DuckDB reads."""


@dataclass(frozen=True)
class DataFile:
    """An immutable Parquet file of the store: its key, the SHA-256 of its bytes, its size and its rows."""

    file: str
    sha256: str
    bytes: int
    rows: int


def write_parquet(path: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch], *, layout: Layout = LASTING) -> int:
    """Write batches of exactly `schema` to `path`, cut into full row groups; returns the number of rows.

    The layout, format version and page checksums are fixed, so equal rows give equal bytes with the same
    pyarrow, whatever the batches' sizes were.
    """
    rows, size = 0, layout.row_group
    texts = [field.name for field in schema if not (pa.types.is_primitive(field.type) or pa.types.is_list(field.type))]
    with pq.ParquetWriter(
        path,
        schema,
        compression=layout.compression,
        version="2.6",
        write_page_checksum=layout.checksums,
        use_dictionary=True if layout.dictionaries else texts,
    ) as writer:
        waiting: list[pa.RecordBatch] = []
        held = 0
        for batch in batches:
            waiting.append(batch)
            held += batch.num_rows
            while held >= size:
                table = pa.Table.from_batches(waiting, schema=schema)
                writer.write_table(table.slice(0, size).combine_chunks(), row_group_size=size)
                rest = table.slice(size)
                waiting, held = rest.to_batches(), rest.num_rows
                rows += size
        if held or not rows:
            table = pa.Table.from_batches(waiting, schema=schema).combine_chunks()
            writer.write_table(table, row_group_size=size)
            rows += held
    return rows


def put_parquet(
    store: Store,
    folder: str,
    schema: pa.Schema,
    batches: Iterable[pa.RecordBatch],
    *,
    layout: Layout = LASTING,
) -> DataFile:
    """Write batches to `<folder>/<sha256>.parquet` and say where they are; writing the same rows again adds
    nothing."""
    with writing(store, folder) as path:
        rows = write_parquet(path, schema, batches, layout=layout)
        sha256, size = sha256_file(path), path.stat().st_size
        key = f"{folder}/{sha256}.parquet"
        put_content(store, key, path, sha256=sha256)
    return DataFile(key, sha256, size, rows)


@contextmanager
def writing(store: Store, what: str) -> Iterator[Path]:
    """A fresh file name in the store's tmp folder, which is gone afterwards. What the disk refuses meanwhile, of
    DuckDB's own files too, is a StoreError about `what`."""
    path = new_tmp(store)
    with clear_errors(what):
        try:
            yield path
        except duckdb.IOException as error:
            raise StoreError(
                f"{what} cannot be written ({error})", code="store-unusable", hint="check the space of the disk"
            ) from error
        finally:
            path.unlink(missing_ok=True)


def put_content(store: Store, key: str, path: Path, *, sha256: str) -> None:
    """Move a finished file to a key that follows from its content. One that lies there already, left by a
    killed or a quicker writer, is used if it has that content; StoreError if it has not."""
    if not store.put_file(key, path) and store.digest(key) not in (sha256, None):
        raise StoreError(
            f"{key} is damaged: its sha256 is not {sha256}", code="damaged", hint="remove it and do the same again"
        )


def read_rows(path: Path, *, start: int, rows: int) -> pa.Table:
    """Rows `start` to `start + rows` of a file we wrote, reading only the row groups that hold them,
    checksums on."""
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        groups, skipped, before = [], 0, 0
        for index in range(file.metadata.num_row_groups):
            size = file.metadata.row_group(index).num_rows
            if before + size <= start:
                skipped += size
            elif before < start + rows:
                groups.append(index)
            before += size
        return file.read_row_groups(groups).slice(start - skipped, rows)


def read_runs(path: Path, runs: Sequence[tuple[int, int]], *, columns: Sequence[str]) -> Iterator[pa.Table]:
    """Some columns of several runs of rows, (start, rows) each, that rise and do not overlap; every row group is read
    once, checksums on."""
    with pq.ParquetFile(path, page_checksum_verification=True, pre_buffer=False) as file:
        held, before = file.schema_arrow.empty_table().select(list(columns)), 0
        coming = file.iter_batches(columns=list(columns))
        for start, rows in runs:
            while True:
                passed = min(start - before, held.num_rows)
                held, before = held.slice(passed), before + passed
                if before + held.num_rows >= start + rows:
                    break
                held = pa.concat_tables([held, pa.Table.from_batches([next(coming)])])
            yield held.slice(0, rows).combine_chunks()


def new_spill(store: Store) -> Path:
    """A fresh folder name in the store's tmp folder, where one DuckDB connection may spill; two must not share one."""
    return store.tmp() / f"{uuid.uuid4().hex}.spill"


def new_tmp(store: Store) -> Path:
    """A fresh file name in the store's tmp folder."""
    return store.tmp() / f"{uuid.uuid4().hex}.parquet"
