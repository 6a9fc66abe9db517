"""Tables of scores that others computed: which of their columns say what, and their rows in one form. Runs in the child
that reads untrusted files; knows no dataset."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from ranking.errors import SourceError
from ranking.ingest.adapters import parquet, texts
from ranking.ingest.sources import SourceFile

SUFFIXES: Final = (".parquet", *texts.SUFFIXES)
NAMES: Final = (
    "image_uid",
    "prompt",
    "prompt_id",
    "pair_id",
    "score",
    "score_0",
    "score_1",
    "status",
    "status_0",
    "status_1",
)
"""What `--columns` may map."""

_ALSO: Final[Mapping[str, tuple[str, ...]]] = {
    "image_uid": ("uid", "image"),
    "prompt": ("caption",),
    "pair_id": ("pair",),
    "score": ("{name}",),
    "score_0": ("{name}.0", "{name}_0"),
    "score_1": ("{name}.1", "{name}_1"),
}
"""Other names that these columns may have; {name} is the scorer's."""

BY_ITEM: Final = "item"
BY_IMAGE: Final = "image"
BY_PAIR: Final = "pair"
_KEYS: Final = {
    BY_ITEM: (("image_uid",), ("prompt", "prompt_id")),
    BY_IMAGE: (("image_uid",),),
    BY_PAIR: (("pair_id",),),
}
"""For each form, of which columns a row needs at least one."""

GIVEN: pa.Schema = pa.schema(
    [
        ("ordinal", pa.int32()),  # which of the files
        ("row", pa.int64()),  # of the table, from 0
        ("image_uid", pa.string()),
        ("prompt", pa.string()),  # null, like prompt_id, where a score holds for the image under every prompt
        ("prompt_id", pa.string()),
        ("pair_id", pa.string()),
        ("score_0", pa.float32()),  # of an item, or of the first image of a pair; null where none is given
        ("score_1", pa.float32()),
        ("status_0", pa.string()),  # why there is none, if the table says so
        ("status_1", pa.string()),
    ]
)
"""One row of somebody's table: an item's score, or those of a pair's two images. The other form's columns are null."""


@dataclass(frozen=True)
class Layout:
    """How a table is keyed (BY_ITEM, BY_IMAGE, BY_PAIR) and which of its columns has what we call so."""

    form: str
    columns: Mapping[str, str]


def layout_of(names: Iterable[str], *, scorer: str, mapped: Mapping[str, str], where: str) -> Layout:
    """The layout of a table with columns of these names. SourceError for a mapped column that it does not have, and
    for a table that lacks a key or a score."""
    known = list(names)
    for ours, theirs in mapped.items():
        if theirs not in known:
            raise SourceError(
                f"source {where} has no column {theirs}, which --columns names for {ours}",
                code="source-columns",
                hint=f"its columns are {_listed(known)}",
            )
    found = {}
    for ours in NAMES:
        spelled = (ours, *(also.format(name=scorer) for also in _ALSO.get(ours, ())))
        named = [mapped[ours]] if ours in mapped else [name for name in spelled if name in known]
        if named:
            found[ours] = named[0]
    if {"pair_id", "score_0", "score_1"} <= found.keys():
        form, wanted = BY_PAIR, ("pair_id", "score_0", "score_1", "status_0", "status_1")
    elif {"image_uid", "score"} <= found.keys():
        form = BY_ITEM if "prompt" in found or "prompt_id" in found else BY_IMAGE
        wanted = ("image_uid", "prompt", "prompt_id", "score", "status")
    else:
        needed = ("pair_id", "score_0", "score_1") if "pair_id" in found else ("image_uid", "score")
        lacking = ", ".join(name for name in needed if name not in found)
        raise SourceError(
            f"source {where} has no column for {lacking} (its columns are {_listed(known)})",
            code="source-columns",
            hint="name them: --columns image_uid=…,prompt=…,score=… or pair_id=…,score_0=…,score_1=…",
        )
    return Layout(form, {name: found[name] for name in wanted if name in found})


def read_given(
    file: SourceFile, ordinal: int, *, scorer: str, mapped: Mapping[str, str]
) -> tuple[str, Iterator[pa.RecordBatch]]:
    """How a CSV, JSON or Parquet file is keyed and its rows (GIVEN), in batches of at most 65,536. SourceError for a
    file that cannot be read and, with the row, for a row without its key or a score that is no number."""
    if texts.is_text(file):
        names = texts.names(file)
        if isinstance(names, str):
            raise SourceError(f"source {file.uri} is no table: {names}", code="source-columns", hint="check the file")
    else:
        if reason := parquet.lacking(file, ()):
            raise SourceError(
                f"source {file.uri} is no table of scores: {reason}",
                code="source-columns",
                hint=f"name a file that ends in {', '.join(SUFFIXES)}",
            )
        names = parquet.schema_of(file).names
    layout = layout_of(names, scorer=scorer, mapped=mapped, where=file.uri)
    return layout.form, (_given(batch, layout, ordinal) for batch in _batches(file, layout))


def _batches(file: SourceFile, layout: Layout) -> Iterator[parquet.Batch]:
    columns = list(dict.fromkeys(layout.columns.values()))
    return texts.batches(file, columns) if texts.is_text(file) else parquet.batches(file, columns)


def _given(batch: parquet.Batch, layout: Layout, ordinal: int) -> pa.RecordBatch:
    rows = batch.columns.num_rows
    theirs = layout.columns
    columns = {"ordinal": pa.array([ordinal] * rows, pa.int32()), "row": batch.rows}
    for name in ("image_uid", "prompt", "prompt_id", "pair_id"):
        if name in theirs:
            columns[name] = batch.text(theirs[name])
    for ours, side in (("score", 0), ("score_0", 0), ("score_1", 1)):
        if ours in theirs:
            columns[f"score_{side}"] = _numbers(batch, theirs[ours])
    for ours, side in (("status", 0), ("status_0", 0), ("status_1", 1)):
        if ours in theirs:
            columns[f"status_{side}"] = batch.text(theirs[ours])
    for names in _KEYS[layout.form]:
        lacking = reduce(pc.and_, (columns[name].is_null() for name in names if name in columns))
        at = pc.index(lacking, True).as_py()
        if at >= 0:
            raise SourceError(
                f"source {batch.file.uri} row {batch.rows[at]} has no {names[0]}",
                code="bad-rows",
                hint="correct the file",
            )
    filled = [columns.get(field.name, pa.nulls(rows, field.type)) for field in GIVEN]
    return pa.record_batch(filled, schema=GIVEN)


def _numbers(batch: parquet.Batch, column: str) -> pa.Array:
    """A column as float32, from numbers of any kind or their spelling."""
    values = batch.columns.column(column)
    if pa.types.is_floating(values.type) or pa.types.is_null(values.type):
        return pc.cast(values, pa.float32())
    if not (pa.types.is_string(values.type) or pa.types.is_large_string(values.type)):
        return pc.cast(batch.number(column), pa.float32())
    spelled = pc.utf8_trim_whitespace(pc.cast(values, pa.string()))
    try:
        # Straight to float32: by way of float64 a number could be rounded twice.
        return pc.cast(spelled, pa.float32())
    except pa.ArrowInvalid:
        at = next(index for index, text in enumerate(spelled) if not _is_number(text))
        raise SourceError(
            f"source {batch.file.uri} row {batch.rows[at]} has {spelled[at].as_py()[:64]!r} for {column}, "
            "which is no number",
            code="bad-rows",
            hint="correct the file",
        ) from None


def _is_number(text: pa.StringScalar) -> bool:
    try:
        text.cast(pa.float32())
    except pa.ArrowInvalid:
        return False
    return True


def _listed(names: Iterable[str]) -> str:
    known = list(names)
    more = f" and {len(known) - 30} more" if len(known) > 30 else ""
    return ", ".join(name[:64] for name in known[:30]) + more
