"""The Pick-a-Pic layout (v1 and v2, with or without images): which columns it has and what makes a row
unusable.
"""

from collections.abc import Callable
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from ranking.errors import SourceError
from ranking.ingest.sources import SourceFile

NAME: Final = "pickapic"
MAX_PROMPT = 8192  # characters; longer ones are damage, or an attempt to fill the memory

_REQUIRED = ("caption", "image_0_uid", "image_1_uid", "label_0", "label_1")
_OPTIONAL = ("has_label", "user_id", "model_0", "model_1", "created_at", "ranking_id")
IMAGE_COLUMNS = ("jpg_0", "jpg_1")

RAW: pa.Schema = pa.schema(
    [
        ("prompt", pa.string()),
        ("image_0_uid", pa.string()),
        ("image_1_uid", pa.string()),
        ("label_0", pa.float64()),
        ("label_1", pa.float64()),
        ("rater", pa.string()),
        ("model_0", pa.string()),
        ("model_1", pa.string()),
        ("created_at", pa.timestamp("us")),
        ("ranking", pa.string()),  # tells apart two judgements that are equal in all else
        ("reason", pa.string()),  # why the row is unusable; null if it is not
    ]
)
"""What a batch of a source becomes."""


def missing_columns(schema: pa.Schema) -> list[str]:
    """The needed columns that a file lacks; empty if it is a Pick-a-Pic file."""
    return [name for name in _REQUIRED if name not in schema.names]


def columns_to_read(schema: pa.Schema) -> list[str]:
    """The columns that `raw_batch` uses of a file; never the images."""
    return [name for name in (*_REQUIRED, *_OPTIONAL) if name in schema.names]


def image_columns(schema: pa.Schema) -> tuple[str | None, str | None]:
    """The columns that hold the bytes of image 0 and image 1; None where the file carries none."""
    first, second = (name if name in schema.names else None for name in IMAGE_COLUMNS)
    return first, second


def raw_batch(file: SourceFile, batch: pa.RecordBatch) -> pa.RecordBatch:
    """The rows of a batch in the RAW schema. SourceError if a column has a type that cannot be read."""

    def column(name: str, convert: Callable[[pa.Array], pa.Array], kind: pa.DataType) -> pa.Array:
        if name not in batch.schema.names:
            return pa.nulls(batch.num_rows, kind)
        values = batch.column(name)
        try:
            converted = convert(values)
            converted.validate(full=True)
        except (pa.ArrowException, UnicodeDecodeError) as error:
            raise SourceError(
                f"column {name} of {file.path} is {values.type} and does not read as {kind} ({error})",
                code="source-columns",
            ) from error
        return converted

    def text(name: str) -> pa.Array:
        return column(name, lambda values: pc.cast(values, pa.string()), pa.string())

    def number(name: str) -> pa.Array:
        return column(name, lambda values: pc.cast(values, pa.float64()), pa.float64())

    prompt, uid_0, uid_1 = text("caption"), text("image_0_uid"), text("image_1_uid")
    label_0, label_1 = number("label_0"), number("label_1")
    labelled = column("has_label", lambda values: pc.cast(values, pa.bool_()), pa.bool_())
    created = column("created_at", _utc_microseconds, pa.timestamp("us"))
    reasons = {
        "no_label": pc.equal(labelled, False),
        "blank_prompt": pc.equal(pc.utf8_trim_whitespace(pc.fill_null(prompt, "")), ""),
        "long_prompt": pc.greater(pc.utf8_length(prompt), MAX_PROMPT),
        "bad_label": pc.invert(_known_labels(label_0, label_1)),
        "missing_image": pc.or_(_empty(uid_0), _empty(uid_1)),
        "same_image": pc.equal(uid_0, uid_1),
    }
    reason = pc.case_when(pc.make_struct(*reasons.values()), *(pa.scalar(name) for name in reasons))
    values = [prompt, uid_0, uid_1, label_0, label_1, text("user_id"), text("model_0"), text("model_1")]
    return pa.record_batch([*values, created, text("ranking_id"), reason], schema=RAW)


def _known_labels(first: pa.Array, second: pa.Array) -> pa.Array:
    known = [pc.and_(pc.equal(first, a), pc.equal(second, b)) for a, b in ((1.0, 0.0), (0.0, 1.0), (0.5, 0.5))]
    return pc.fill_null(pc.or_(pc.or_(known[0], known[1]), known[2]), False)


def _empty(uids: pa.Array) -> pa.Array:
    return pc.equal(pc.fill_null(uids, ""), "")


def _utc_microseconds(values: pa.Array) -> pa.Array:
    if not (pa.types.is_timestamp(values.type) or pa.types.is_null(values.type)):
        raise pa.ArrowTypeError("not a timestamp")
    # Nanoseconds are cut off on purpose: no rater is that quick.
    return pc.cast(values, pa.timestamp("us"), safe=False)
