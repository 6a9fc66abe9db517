"""Reads sources in batches into checked rows in temporary files, counting what is unusable. Publishes
nothing.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ranking.errors import SourceError, UnknownNameError
from ranking.ingest.adapters import ADAPTERS, Adapter, Options
from ranking.ingest.raw import JUDGEMENTS
from ranking.ingest.sources import SourceFile
from ranking.names import sha256_file
from ranking.store.parquet import write_parquet

Progress = Callable[[int, int], None]

STAGED: pa.Schema = pa.schema([*JUDGEMENTS, ("ordinal", pa.int32()), ("position", pa.int64())])
"""JUDGEMENTS, the position of the row's source in this ingest, and the row's among the rows of its source."""


@dataclass(frozen=True)
class StagedSource:
    """One source file, hashed and read into the file `judgements`. `ordinal` is its position in this ingest."""

    ordinal: int
    file: SourceFile
    sha256: str
    rows: int
    judgements: Path


@dataclass
class BadRows:
    """The rows that cannot be used: how many for which reason, and the first one met."""

    counts: dict[str, int] = field(default_factory=dict)
    first: str = ""

    def add(self, file: SourceFile, rows: pa.Array, reasons: pa.Array) -> None:
        """Count the reasons of a batch of rows."""
        if reasons.null_count == len(reasons):
            return
        for entry in pc.value_counts(reasons.drop_null()).to_pylist():
            self.counts[entry["values"]] = self.counts.get(entry["values"], 0) + entry["counts"]
        if not self.first:
            at = pc.index(reasons.is_valid(), True).as_py()
            self.first = f"{file.uri} row {rows[at].as_py()} ({reasons[at].as_py()})"

    def refusal(self) -> SourceError:
        """The error that says all of it in one line."""
        counts = ", ".join(f"{count} {reason}" for reason, count in sorted(self.counts.items()))
        return SourceError(
            f"{sum(self.counts.values())} rows cannot be used ({counts}), the first is {self.first}",
            code="bad-rows",
            hint="correct them, or leave them out with --skip-bad-rows",
        )


def suffixes(wanted: str) -> list[str]:
    """The endings of files that the format `wanted` reads, or any format with "auto"."""
    return sorted({end for adapter in ADAPTERS if wanted in ("auto", adapter.name) for end in adapter.suffixes})


def adapter_for(files: list[SourceFile], wanted: str) -> Adapter:
    """The adapter of the format `wanted`, or with "auto" the first that every file fits. UnknownNameError for a
    format we do not have, SourceError that says why the files do not fit.
    """
    known = {adapter.name: adapter for adapter in ADAPTERS}
    if wanted != "auto" and wanted not in known:
        raise UnknownNameError.among("format", wanted, ("auto", *known))
    candidates = ADAPTERS if wanted == "auto" else (known[wanted],)
    reasons = []
    for adapter in candidates:
        reason = next((f"{file.uri}: {why}" for file in files if (why := adapter.mismatch(file))), None)
        if reason is None:
            return adapter
        reasons.append(f"not {adapter.name}, as {reason}")
    raise SourceError(
        f"source {files[0].root} is of no format we know ({'; '.join(reasons)})",
        code="source-columns",
        hint="name its --format, or map its columns with --format table",
    )


def stage(
    files: list[SourceFile],
    adapter: Adapter,
    options: Options,
    folder: Path,
    *,
    known: set[str],
    progress: Progress | None,
) -> tuple[list[StagedSource], BadRows]:
    """Read every file whose SHA-256 is not in `known` (nor met before in this call) into `folder`.

    Rows are read in batches without the images, so memory does not grow with the files.
    """
    bad = BadRows()
    met = set(known)
    sources: list[StagedSource] = []
    done, total = 0, sum(file.bytes for file in files)
    for file in files:
        sha256 = file.sha256 or sha256_file(Path(file.uri))
        if sha256 not in met:
            met.add(sha256)
            ordinal = len(sources)
            path = folder / f"{ordinal}.parquet"
            rows = write_parquet(path, STAGED, _counted(adapter.read(file, options), file, bad, ordinal))
            if not rows:
                raise SourceError(f"source {file.uri} has no rows", code="source-empty", hint="leave it out")
            sources.append(StagedSource(ordinal, replace(file, sha256=sha256), sha256, rows, path))
        done += file.bytes
        if progress:
            progress(done, total)
    return sources, bad


def _counted(
    batches: Iterator[pa.RecordBatch], file: SourceFile, bad: BadRows, ordinal: int
) -> Iterator[pa.RecordBatch]:
    first = 0
    for batch in batches:
        bad.add(file, batch["row"], batch["reason"])
        place = [
            pa.array(np.full(batch.num_rows, ordinal, np.int32)),
            pa.array(np.arange(first, first + batch.num_rows, dtype=np.int64)),
        ]
        first += batch.num_rows
        yield pa.record_batch([*batch.columns, *place], schema=STAGED)
