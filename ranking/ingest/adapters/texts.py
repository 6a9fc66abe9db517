"""Tables that are text: CSV, or JSON objects, in batches of strings. Knows nothing of what their columns mean."""

import csv as plain_csv
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
import pyarrow as pa
from pyarrow import csv

from ranking.errors import SourceError
from ranking.ingest.adapters import documents, parquet
from ranking.ingest.sources import SourceFile

_COMMA: Final = (".csv",)
_TAB: Final = (".tsv",)
_OBJECTS: Final = (".jsonl", ".ndjson", ".json")
SUFFIXES: Final = (*_COMMA, *_TAB, *_OBJECTS)
_BLOCK: Final = 4 * 2**20  # bytes of CSV parsed at once; a row must fit
_LONGEST_HEADER: Final = 2**20


def is_text(file: SourceFile) -> bool:
    """Whether the file's name ends as such tables do."""
    return file.name.lower().endswith(SUFFIXES)


def names(file: SourceFile) -> list[str] | str:
    """The columns of the table (of JSON, the fields of its first object), or in a few words why it has none.
    SourceError if it cannot be read."""
    if _is_objects(file):
        first = documents.first_object(file)
        return first if isinstance(first, str) else list(first)
    with _as_csv(file), file.open() as handle:
        beginning = io.TextIOWrapper(io.BytesIO(handle.read(_LONGEST_HEADER)), "utf-8-sig", newline="")
        return next(plain_csv.reader(beginning, delimiter=_delimiter(file)), []) or "it has no header"


def batches(file: SourceFile, columns: list[str]) -> Iterator[parquet.Batch]:
    """Some columns as strings, batch by batch, with the number of each row from 0 and no row groups. Empty fields of
    CSV are null, numbers of JSON as they are spelled. SourceError if the file cannot be read."""
    first = 0
    for batch in _objects(file, columns) if _is_objects(file) else _csv(file, columns):
        rows = pa.array(np.arange(first, first + batch.num_rows, dtype=np.int64))
        first += batch.num_rows
        yield parquet.Batch(file, batch, rows, pa.nulls(batch.num_rows, pa.int32()))


def _csv(file: SourceFile, columns: list[str]) -> Iterator[pa.RecordBatch]:
    # Everything is read as text: what a column is must not depend on the rows that happen to come first.
    options = csv.ConvertOptions(
        column_types=dict.fromkeys(columns, pa.string()),
        include_columns=columns,
        null_values=[""],
        strings_can_be_null=True,
    )
    parsing = csv.ParseOptions(delimiter=_delimiter(file), newlines_in_values=True)
    with (
        _as_csv(file),
        file.open() as handle,
        csv.open_csv(
            handle,
            read_options=csv.ReadOptions(block_size=_BLOCK),
            parse_options=parsing,
            convert_options=options,
        ) as reader,
    ):
        for batch in reader:
            for start in range(0, batch.num_rows, parquet.BATCH_ROWS):
                yield batch.slice(start, parquet.BATCH_ROWS)


def _objects(file: SourceFile, columns: list[str]) -> Iterator[pa.RecordBatch]:
    for found in documents.documents(file):
        values = [pa.array([_spelled(item.get(name)) for item in found.objects], pa.string()) for name in columns]
        yield pa.record_batch(values, names=columns)


def _spelled(value: Any) -> str | None:
    """A text, or a number as JSON spells it; None for what is neither."""
    if isinstance(value, float):
        return json.dumps(value)
    return documents.as_text(value)


@contextmanager
def _as_csv(file: SourceFile) -> Iterator[None]:
    try:
        yield
    except pa.ArrowMemoryError:
        raise
    except (pa.ArrowException, plain_csv.Error, UnicodeDecodeError) as error:
        raise SourceError(
            f"source {file.uri} cannot be read as CSV ({str(error)[:200]})",
            code="source-not-csv",
            hint="check the file",
        ) from error


def _delimiter(file: SourceFile) -> str:
    return "\t" if file.name.lower().endswith(_TAB) else ","


def _is_objects(file: SourceFile) -> bool:
    return file.name.lower().endswith(_OBJECTS)
