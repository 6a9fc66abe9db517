"""Parquet files as adapters read them: in bounded batches, with the place of every row. Trusts no footer."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ranking.errors import SourceError
from ranking.ingest.adapters.base import begin
from ranking.ingest.sources import SourceFile

BATCH_ROWS = 65_536
MAX_FOOTER = 64 * 2**20
MAX_COLUMNS = 2_000
MAX_ROW_GROUPS = 100_000
MAX_ROWS_PER_BYTE = 8  # beyond a million rows; the densest table of pairs has a tenth of a row in a byte
MAX_EXPANSION = 1_000  # times the file's size, beyond 2³⁰ bytes
_MAGIC = b"PAR1"
_THRIFT_ITEMS = 10_000_000
_READ_AHEAD = 2**20


@dataclass(frozen=True)
class Batch:
    """Rows of a file: their columns, their numbers in the file from 0 (int64) and their row groups (int32)."""

    file: SourceFile
    columns: pa.RecordBatch
    rows: pa.Array
    row_groups: pa.Array

    def column(self, name: str, convert: Callable[[pa.Array], pa.Array], kind: pa.DataType) -> pa.Array:
        """A column converted to `kind`; nulls if the file has none of that name. SourceError if it does not
        convert."""
        if name not in self.columns.schema.names:
            return pa.nulls(self.columns.num_rows, kind)
        values = self.columns.column(name)
        try:
            converted = convert(values)
            converted.validate(full=True)
        except pa.ArrowMemoryError:
            raise
        except (pa.ArrowException, UnicodeDecodeError) as error:
            raise SourceError(
                f"column {name} of {self.file.uri} is {values.type} and does not read as {kind} ({error})",
                code="source-columns",
            ) from error
        return converted

    def text(self, name: str) -> pa.Array:
        """A column as strings."""
        return self.column(name, lambda values: pc.cast(values, pa.string()), pa.string())

    def number(self, name: str) -> pa.Array:
        """A column as float64."""
        return self.column(name, lambda values: pc.cast(values, pa.float64()), pa.float64())

    def flag(self, name: str) -> pa.Array:
        """A column as booleans."""
        return self.column(name, lambda values: pc.cast(values, pa.bool_()), pa.bool_())

    def time(self, name: str) -> pa.Array:
        """A timestamp column in microseconds, finer parts cut off."""
        return self.column(name, _microseconds, pa.timestamp("us"))

    def places(self, column_0: str | None, column_1: str | None) -> dict[str, pa.Array]:
        """Pointers that say: the images are in these columns of the judgement's own row."""
        found: dict[str, pa.Array] = {}
        for side, column in enumerate((column_0, column_1)):
            if column is not None:
                rows = self.columns.num_rows
                found[f"row_group_{side}"] = self.row_groups
                found[f"row_{side}"] = self.rows
                found[f"column_{side}"] = pa.array([column] * rows, pa.string())
        return found


@contextmanager
def opened(file: SourceFile) -> Iterator[pq.ParquetFile]:
    """The file as Parquet; SourceError if it is not, or if its footer promises more than a table of pairs has."""
    try:
        with file.open() as handle:
            _check_footer(file, handle)
            # Reading ahead by column chunks would keep all of them until the file is closed.
            with pq.ParquetFile(
                handle,
                pre_buffer=False,
                buffer_size=_READ_AHEAD,
                thrift_string_size_limit=MAX_FOOTER,
                thrift_container_size_limit=_THRIFT_ITEMS,
            ) as found:
                _check_shape(file, found.metadata)
                yield found
    except pa.ArrowMemoryError:
        raise  # not the file's fault alone
    except (pa.ArrowException, OSError) as error:
        raise SourceError(
            f"source {file.uri} cannot be read as Parquet ({error})", code="source-not-parquet", hint="check the file"
        ) from error


def _check_footer(file: SourceFile, handle: BinaryIO) -> None:
    if file.bytes < 12:
        return
    handle.seek(-8, os.SEEK_END)
    size = int.from_bytes(handle.read(4), "little")
    handle.seek(0)
    if size > MAX_FOOTER:
        raise _too_large(file, f"a footer of {size:,} bytes, more than {MAX_FOOTER:,}")


def _check_shape(file: SourceFile, metadata: pq.FileMetaData) -> None:
    if metadata.num_columns > MAX_COLUMNS:
        raise _too_large(file, f"{metadata.num_columns:,} columns, more than {MAX_COLUMNS:,}")
    if metadata.num_row_groups > MAX_ROW_GROUPS:
        raise _too_large(file, f"{metadata.num_row_groups:,} row groups, more than {MAX_ROW_GROUPS:,}")
    if metadata.num_rows > max(1_000_000, MAX_ROWS_PER_BYTE * file.bytes):
        raise _too_large(file, f"{metadata.num_rows:,} rows in {file.bytes:,} bytes")


def _too_large(file: SourceFile, what: str) -> SourceError:
    return SourceError(f"source {file.uri} has {what}: refused", code="source-too-large", hint="check the file")


def schema_of(file: SourceFile) -> pa.Schema:
    """The file's columns."""
    with opened(file) as found:
        return found.schema_arrow


def is_parquet(file: SourceFile) -> bool:
    """Whether the file begins as Parquet does."""
    return begin(file, len(_MAGIC)) == _MAGIC


def lacking(file: SourceFile, names: Sequence[str]) -> str | None:
    """Why the file is not Parquet with columns of these names, or None. SourceError if it is damaged Parquet."""
    if not is_parquet(file):
        return "it cannot be read as Parquet"
    known = schema_of(file).names
    missing = [name for name in names if name not in known]
    return f"it lacks the columns {', '.join(missing)}" if missing else None


def batches(file: SourceFile, columns: Sequence[str], *, rows: int = BATCH_ROWS) -> Iterator[Batch]:
    """Some columns of a file, batch by batch of at most `rows`; SourceError if it cannot be read or its footer counts
    wrongly."""
    with opened(file) as found:
        counts = [found.metadata.row_group(index).num_rows for index in range(found.metadata.num_row_groups)]
        starts = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
        first = expanded = 0
        for batch in found.iter_batches(batch_size=rows, columns=list(columns)):
            # A few bytes of a dictionary may stand for gigabytes of text.
            batch = _decoded(batch)
            expanded += batch.nbytes
            if expanded > max(2**30, MAX_EXPANSION * file.bytes):
                raise _too_large(file, f"more than {expanded:,} bytes of content in a file of {file.bytes:,}")
            numbers = np.arange(first, first + batch.num_rows, dtype=np.int64)
            groups = np.searchsorted(starts, numbers, side="right") - 1
            first += batch.num_rows
            if batch.num_rows:
                yield Batch(file, batch, pa.array(numbers), pa.array(groups.astype(np.int32)))
    if first != starts[-1]:
        raise SourceError(f"source {file.uri} has {first} rows, its footer says {starts[-1]}", hint="check the file")


def _decoded(batch: pa.RecordBatch) -> pa.RecordBatch:
    columns = [
        column.dictionary_decode() if pa.types.is_dictionary(column.type) else column for column in batch.columns
    ]
    return pa.record_batch(columns, names=batch.schema.names)


def _microseconds(values: pa.Array) -> pa.Array:
    if not (pa.types.is_timestamp(values.type) or pa.types.is_null(values.type)):
        raise pa.ArrowTypeError("not a timestamp")
    # Nanoseconds are cut off on purpose: no rater is that quick.
    return pc.cast(values, pa.timestamp("us"), safe=False)
