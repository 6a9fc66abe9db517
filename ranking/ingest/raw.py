"""The normal form that every adapter brings its files into, whatever a dataset calls its columns and wherever it
puts the winner."""

import math
from collections.abc import Iterable, Mapping
from functools import reduce
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

MAX_PROMPT: Final = 8192  # characters; longer ones are damage, or an attempt to fill the memory
MAX_TEXT: Final = 1024  # characters of a uid, rater, model or path

JUDGEMENTS: pa.Schema = pa.schema(
    [
        ("row", pa.int64()),  # of the judgement in its source file, from 0; not falling
        ("prompt", pa.string()),
        ("image_0_uid", pa.string()),
        ("image_1_uid", pa.string()),
        ("label_0", pa.float64()),  # 1 and 0, 0 and 1, or ½ and ½
        ("label_1", pa.float64()),
        ("votes_0", pa.float64()),  # judges for image 0, whole or weighted; null where one person judged
        ("votes_1", pa.float64()),
        ("rater", pa.string()),
        ("model_0", pa.string()),
        ("model_1", pa.string()),
        ("created_at", pa.timestamp("us")),  # UTC
        ("ranking", pa.string()),  # tells apart two judgements that are equal in all else
        # Where the bytes of each image are: a cell of a Parquet file, a file below the source's root (with / between
        # its parts) or an https:// address; both null where there are none.
        ("row_group_0", pa.int32()),
        ("row_0", pa.int64()),
        ("column_0", pa.string()),  # dotted where nested: image_1.bytes
        ("file_0", pa.string()),
        ("row_group_1", pa.int32()),
        ("row_1", pa.int64()),
        ("column_1", pa.string()),
        ("file_1", pa.string()),
        ("reason", pa.string()),  # why the row is unusable; null if it is not
    ]
)
"""One judgement of a pair: what a batch of a source becomes."""

RATINGS: pa.Schema = pa.schema(
    [
        ("row", pa.int64()),
        ("image_uid", pa.string()),
        ("prompt", pa.string()),  # null: the rating is of the image under any prompt
        ("name", pa.string()),  # for example richhf-overall
        ("value", pa.float64()),  # finite; larger is better
        ("reason", pa.string()),
    ]
)
"""One number that people gave one image."""

NO_LABEL = "no_label"
BLANK_PROMPT = "blank_prompt"
LONG_PROMPT = "long_prompt"
LONG_TEXT = "long_text"
BAD_LABEL = "bad_label"
BAD_VOTES = "bad_votes"
MISSING_IMAGE = "missing_image"
SAME_IMAGE = "same_image"
BAD_PATH = "bad_path"
BAD_RATING = "bad_rating"
TOO_MANY_IMAGES = "too_many_images"
REASONS = (
    NO_LABEL,
    BLANK_PROMPT,
    LONG_PROMPT,
    LONG_TEXT,
    BAD_LABEL,
    BAD_VOTES,
    MISSING_IMAGE,
    SAME_IMAGE,
    BAD_PATH,
    BAD_RATING,
    TOO_MANY_IMAGES,
)
"""Why a row cannot be used, in the order in which they are looked for."""


def judgements(columns: Mapping[str, pa.Array], *, reasons: Mapping[str, pa.Array] | None = None) -> pa.RecordBatch:
    """A batch of JUDGEMENTS from the columns an adapter has; those it leaves out are null.

    Every row that breaks a rule all datasets share gets its reason here: blank or overlong prompt, labels other than
    1/0, 0/1, ½/½, votes that are negative or not finite, an image without a uid or the same one twice, texts
    beyond 1,024 characters. `reasons` (name to boolean array) are the adapter's own and are looked at first.
    Raises ValueError for an unknown column or one of another type.
    """
    full = _full(JUDGEMENTS, columns)
    texts = ("image_0_uid", "image_1_uid", "rater", "model_0", "model_1", "file_0", "file_1")
    found = {
        BLANK_PROMPT: pc.equal(pc.utf8_trim_whitespace(pc.fill_null(full["prompt"], "")), ""),
        LONG_PROMPT: pc.greater(pc.utf8_length(full["prompt"]), MAX_PROMPT),
        LONG_TEXT: _any(pc.greater(pc.utf8_length(full[name]), MAX_TEXT) for name in texts),
        BAD_LABEL: pc.invert(_known_labels(full["label_0"], full["label_1"])),
        BAD_VOTES: _any(_bad_votes(full[name]) for name in ("votes_0", "votes_1")),
        MISSING_IMAGE: _any(pc.equal(pc.fill_null(full[name], ""), "") for name in ("image_0_uid", "image_1_uid")),
        SAME_IMAGE: pc.equal(full["image_0_uid"], full["image_1_uid"]),
    }
    return pa.record_batch([*full.values(), _first(reasons or {}, found)], schema=JUDGEMENTS)


def ratings(columns: Mapping[str, pa.Array], *, reasons: Mapping[str, pa.Array] | None = None) -> pa.RecordBatch:
    """A batch of RATINGS from the columns an adapter has, as `judgements` does it: reasons for a prompt that is blank
    or overlong (none at all is fine), a blank or overlong uid, and a value that is missing or not finite.
    """
    full = _full(RATINGS, columns)
    found = {
        BLANK_PROMPT: pc.equal(pc.utf8_trim_whitespace(full["prompt"]), ""),
        LONG_PROMPT: pc.greater(pc.utf8_length(full["prompt"]), MAX_PROMPT),
        LONG_TEXT: pc.greater(pc.utf8_length(full["image_uid"]), MAX_TEXT),
        MISSING_IMAGE: pc.equal(pc.fill_null(full["image_uid"], ""), ""),
        BAD_RATING: pc.invert(pc.is_finite(pc.fill_null(full["value"], math.nan))),
    }
    return pa.record_batch([*full.values(), _first(reasons or {}, found)], schema=RATINGS)


def _full(schema: pa.Schema, columns: Mapping[str, pa.Array]) -> dict[str, pa.Array]:
    """All columns of the schema but the reason, those not given as nulls."""
    unknown = set(columns) - set(schema.names)
    if unknown:
        raise ValueError(f"there is no column {', '.join(sorted(unknown))}")
    rows = len(columns["row"])
    names = [field for field in schema if field.name != "reason"]
    return {field.name: columns.get(field.name, pa.nulls(rows, field.type)) for field in names}


def _first(own: Mapping[str, pa.Array], shared: Mapping[str, pa.Array]) -> pa.Array:
    """For each row the first name whose condition holds, or null. A name may stand in both."""
    found = [*own.items(), *shared.items()]
    conditions = [pc.fill_null(condition, False) for _, condition in found]
    return pc.case_when(pc.make_struct(*conditions), *(pa.scalar(name) for name, _ in found))


def _known_labels(first: pa.Array, second: pa.Array) -> pa.Array:
    known = [pc.and_(pc.equal(first, a), pc.equal(second, b)) for a, b in ((1.0, 0.0), (0.0, 1.0), (0.5, 0.5))]
    return pc.fill_null(pc.or_(pc.or_(known[0], known[1]), known[2]), False)


def _bad_votes(votes: pa.Array) -> pa.Array:
    return pc.or_(pc.invert(pc.is_finite(votes)), pc.less(votes, 0.0))


def _any(conditions: Iterable[pa.Array]) -> pa.Array:
    return reduce(pc.or_, (pc.fill_null(condition, False) for condition in conditions))
