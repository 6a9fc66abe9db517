"""Reads sources in batches into checked rows in temporary files, counting what is unusable. Publishes
nothing.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ranking.errors import SourceError, UnknownNameError
from ranking.ingest import pickapic
from ranking.ingest.sources import SourceFile
from ranking.names import sha256_file
from ranking.store.parquet import write_parquet

Progress = Callable[[int, int], None]
BATCH_ROWS = 65_536
FORMATS = (pickapic.NAME,)

STAGED: pa.Schema = pa.schema([*pickapic.RAW, ("ordinal", pa.int32()), ("row", pa.int64()), ("row_group", pa.int32())])
"""RAW, and where the row came from: the position of its source in this ingest, its row and its row group
there.
"""


@dataclass(frozen=True)
class StagedSource:
    """One source file, hashed and read into the file `staged`. `ordinal` is its position in this ingest."""

    ordinal: int
    file: SourceFile
    sha256: str
    image_columns: tuple[str | None, str | None]
    staged: Path


@dataclass
class BadRows:
    """The rows that cannot be used: how many for which reason, and the first one met."""

    counts: dict[str, int] = field(default_factory=dict)
    first: str = ""

    def add(self, file: SourceFile, first_row: int, reasons: pa.Array) -> None:
        """Count the reasons of a batch that begins at `first_row` of `file`."""
        if reasons.null_count == len(reasons):
            return
        for entry in pc.value_counts(reasons.drop_null()).to_pylist():
            self.counts[entry["values"]] = self.counts.get(entry["values"], 0) + entry["counts"]
        if not self.first:
            at = pc.index(reasons.is_valid(), True).as_py()
            self.first = f"{file.path} row {first_row + at} ({reasons[at].as_py()})"

    def refusal(self) -> SourceError:
        """The error that says all of it in one line."""
        counts = ", ".join(f"{count} {reason}" for reason, count in sorted(self.counts.items()))
        return SourceError(
            f"{sum(self.counts.values())} rows cannot be used ({counts}), the first is {self.first}",
            code="bad-rows",
            hint="correct them, or leave them out with --skip-bad-rows",
        )


def recognised_format(files: list[SourceFile], wanted: str) -> str:
    """The format of the files, after checking that each has its columns. UnknownNameError for a format we do
    not have, SourceError that names the missing columns.
    """
    if wanted not in ("auto", *FORMATS):
        raise UnknownNameError.among("format", wanted, ("auto", *FORMATS))
    for file in files:
        missing = pickapic.missing_columns(file.schema)
        if missing:
            raise SourceError(
                f"source {file.path} lacks the columns {', '.join(missing)} of format {pickapic.NAME}",
                code="source-columns",
                hint=f"it has {', '.join(file.schema.names[:30]) or 'none'}",
            )
    return pickapic.NAME


def stage(
    files: list[SourceFile], folder: Path, *, known: set[str], progress: Progress | None
) -> tuple[list[StagedSource], BadRows]:
    """Read every file whose SHA-256 is not in `known` (nor met before in this call) into `folder`.

    Rows are read in batches without the image columns, so memory does not grow with the files.
    """
    bad = BadRows()
    met = set(known)
    sources: list[StagedSource] = []
    done, total = 0, sum(file.rows for file in files)
    for file in files:
        sha256 = sha256_file(file.path)
        if sha256 not in met:
            met.add(sha256)
            ordinal = len(sources)
            staged = folder / f"{ordinal}.parquet"
            counted = (_counted(batch, file, bad, progress, done, total) for batch in _batches(file, ordinal))
            write_parquet(staged, STAGED, counted)
            images = pickapic.image_columns(file.schema)
            sources.append(StagedSource(ordinal, file, sha256, images, staged))
        done += file.rows
        if progress:
            progress(done, total)
    return sources, bad


def _counted(
    batch: pa.RecordBatch, file: SourceFile, bad: BadRows, progress: Progress | None, done: int, total: int
) -> pa.RecordBatch:
    first_row = batch["row"][0].as_py()
    bad.add(file, first_row, batch["reason"])
    if progress:
        progress(done + first_row + batch.num_rows, total)
    return batch


def _batches(file: SourceFile, ordinal: int) -> Iterator[pa.RecordBatch]:
    starts = np.array(file.group_starts, dtype=np.int64)
    first = 0
    try:
        with pq.ParquetFile(file.path) as reader:
            columns = pickapic.columns_to_read(file.schema)
            for batch in reader.iter_batches(batch_size=BATCH_ROWS, columns=columns):
                rows = np.arange(first, first + batch.num_rows, dtype=np.int64)
                raw = pickapic.raw_batch(file, batch)
                groups = np.searchsorted(starts, rows, side="right") - 1
                place = [
                    pa.array(np.full(len(rows), ordinal, dtype=np.int32)),
                    pa.array(rows),
                    pa.array(groups.astype(np.int32)),
                ]
                first += batch.num_rows
                if batch.num_rows:
                    yield pa.record_batch([*raw.columns, *place], schema=STAGED)
    except (pa.ArrowException, OSError) as error:
        raise SourceError(f"source {file.path} cannot be read ({error})", hint="check the file") from error
    if first != file.rows:
        raise SourceError(f"source {file.path} has {first} rows, its footer says {file.rows}", hint="check the file")
