"""Writes what an adapter reads from one file into staged files, and counts what is unusable. Runs in the sandbox."""

from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ranking.errors import SourceError
from ranking.ingest.raw import JUDGEMENTS, RATINGS
from ranking.ingest.sources import SourceFile

MAX_ROWS: Final = 10**9  # of one file; positions have 36 bits, and nobody has judged that often
_ROWS_AT_ONCE: Final = 65_536

STAGED: pa.Schema = pa.schema([*JUDGEMENTS, ("ordinal", pa.int32()), ("position", pa.int64())])
"""JUDGEMENTS, the position of the row's source in this ingest, and the row's among the rows of its source."""

STAGED_RATINGS: pa.Schema = pa.schema([*RATINGS, ("ordinal", pa.int32()), ("position", pa.int64())])
"""RATINGS with the same."""


class Sheets:
    """The staged files of one source: judgements, and ratings where there are any."""

    def __init__(self, folder: Path, ordinal: int, file: SourceFile) -> None:
        self._file = file
        self._judgements = _Sheet(folder / f"{ordinal}.parquet", STAGED, ordinal)
        self._ratings = _Sheet(folder / f"{ordinal}-ratings.parquet", STAGED_RATINGS, ordinal)
        self._bad: dict[str, int] = {}
        self._first: list[Any] | None = None

    def __enter__(self) -> "Sheets":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for sheet in (self._judgements, self._ratings):
            sheet.close(whole=kind is None)

    def add(self, batch: pa.RecordBatch) -> None:
        """Rows of JUDGEMENTS or RATINGS."""
        sheet = self._ratings if batch.schema.equals(RATINGS) else self._judgements
        reasons = batch["reason"]
        if reasons.null_count < len(reasons):
            self._count(batch["row"], reasons)
            batch = _without_texts(batch)
        sheet.add(batch)
        if self._judgements.rows + self._ratings.rows > MAX_ROWS:
            raise SourceError(
                f"source {self._file.uri} has more than {MAX_ROWS:,} rows", code="source-too-large", hint="split it"
            )

    def result(self) -> dict[str, Any]:
        """Rows of each kind, and the unusable ones: counts by reason and the first (row, reason)."""
        return {
            "judgements": self._judgements.rows,
            "ratings": self._ratings.rows,
            "bad": self._bad,
            "first": self._first,
        }

    def _count(self, rows: pa.Array, reasons: pa.Array) -> None:
        for entry in pc.value_counts(reasons.drop_null()).to_pylist():
            self._bad[entry["values"]] = self._bad.get(entry["values"], 0) + entry["counts"]
        if self._first is None:
            at = pc.index(reasons.is_valid(), True).as_py()
            self._first = [rows[at].as_py(), reasons[at].as_py()]


class _Sheet:
    """A staged file, made with its first row."""

    def __init__(self, path: Path, schema: pa.Schema, ordinal: int) -> None:
        self._path = path
        self._schema = schema
        self._ordinal = ordinal
        self._writer: pq.ParquetWriter | None = None
        self._waiting: list[pa.RecordBatch] = []
        self._held = 0
        self.rows = 0

    def add(self, batch: pa.RecordBatch) -> None:
        place = [
            pa.array(np.full(batch.num_rows, self._ordinal, np.int32)),
            pa.array(np.arange(self.rows, self.rows + batch.num_rows, dtype=np.int64)),
        ]
        self.rows += batch.num_rows
        self._held += batch.num_rows
        self._waiting.append(pa.record_batch([*batch.columns, *place], schema=self._schema))
        if self._held >= _ROWS_AT_ONCE:
            self._write()

    def close(self, *, whole: bool) -> None:
        if whole and self._held:
            self._write()
        if self._writer is not None:
            self._writer.close()

    def _write(self) -> None:
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._path, self._schema, compression="lz4", use_dictionary=_REPEATED)
        self._writer.write_table(pa.Table.from_batches(self._waiting, schema=self._schema))
        self._waiting, self._held = [], 0


_REPEATED = [
    name
    for schema in (STAGED, STAGED_RATINGS)
    for name in schema.names
    if name in ("prompt", "rater", "model_0", "model_1", "column_0", "column_1", "reason", "name")
]


def _without_texts(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Unusable rows with their texts emptied: these may be what is wrong with them."""
    usable = batch["reason"].is_null()
    columns: Iterable[pa.Array] = (
        pc.if_else(usable, column, pa.scalar(None, field.type))
        if pa.types.is_string(field.type) and field.name != "reason"
        else column
        for field, column in zip(batch.schema, batch.columns, strict=True)
    )
    return pa.record_batch(list(columns), schema=batch.schema)
