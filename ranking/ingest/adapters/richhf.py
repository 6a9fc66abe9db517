"""The layout of RichHF-18K, as its README and its authors' parser give it: TFRecords of ratings of Pick-a-Pic v1's
images, without the images. The heat maps and the labels of words are not kept.
"""

from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import count, islice
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ranking.errors import SourceError
from ranking.ingest.adapters.base import Adapter, Options, begin
from ranking.ingest.adapters.rated import rated
from ranking.ingest.adapters.tfrecord import HEADER, Value, first_values, record_size, records
from ranking.ingest.sources import SourceFile

_SCORES: Final = {
    "richhf-aesthetics": "aesthetics_score",
    "richhf-artifact": "artifact_score",
    "richhf-misalignment": "misalignment_score",
    "richhf-overall": "overall_score",
}
_WANTED: Final = frozenset(["filename", *_SCORES.values()])
_RECORDS: Final = 256  # read at once
_LFS: Final = b"version https://git-lfs"
_FOLDERS_AND_ENDINGS: Final = r"^.*/|\..*$"


def mismatch(file: SourceFile) -> str | None:
    """Why the file does not begin with such a record, or None."""
    start = begin(file, len(_LFS))
    if start == _LFS:
        return "it is the Git LFS pointer to the file, which git lfs pull fetches"
    try:
        record_size(start[:HEADER])
        with closing(records(file)) as found:
            first = first_values(next(found), _WANTED)
    except (ValueError, SourceError):
        return "it does not begin as TFRecords of examples do"
    missing = sorted(_WANTED - set(first))
    return f"its examples have no {', '.join(missing)}" if missing else None


def read(file: SourceFile, _options: Options) -> Iterator[pa.RecordBatch]:
    """Four ratings of every image, larger is better, under the uid that Pick-a-Pic has for it."""
    found, rows = records(file), count()
    while examples := [_example(record) for record in islice(found, _RECORDS)]:
        numbers = pa.array(np.fromiter(islice(rows, len(examples)), np.int64, len(examples)))
        names = pa.array([_text(example.get("filename")) for example in examples], pa.string())
        yield rated(
            numbers,
            pc.replace_substring_regex(names, _FOLDERS_AND_ENDINGS, ""),
            pa.nulls(len(examples), pa.string()),
            {name: _numbers([example.get(score) for example in examples]) for name, score in _SCORES.items()},
        )


def _example(record: bytes) -> dict[str, Value]:
    """Nothing for a record that is no example: its ratings are then counted as bad."""
    try:
        return first_values(record, _WANTED)
    except ValueError:
        return {}


def _text(value: Value | None) -> str | None:
    return value.decode(errors="replace") if isinstance(value, bytes) else None


def _numbers(values: Sequence[Value | None]) -> pa.Array:
    # Every image was rated on all four scales, so a missing one is not "not rated" but wrong.
    return pa.array([value if isinstance(value, float) else np.nan for value in values], pa.float64())


ADAPTER = Adapter("richhf", (".tfrecord",), mismatch, read, yields="ratings")
