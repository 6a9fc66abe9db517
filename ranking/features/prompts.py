"""Column sets about a prompt's text: each distinct prompt is looked at once, and what it gave stands beside every pair
under it. Its length and language are here; what else there is to know lies in its own module."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ranking.features.columns import ColumnSet
from ranking.features.fields import Field
from ranking.features.language import LANGUAGES, languages
from ranking.graph.prompts import normalised

if TYPE_CHECKING:
    from ranking.features.pairs import PairTable

UNDETERMINED: Final = "und"
"""ISO 639-2 for a text whose language cannot be told."""

SURE: Final = 0.5
"""The probability below which a language is no more than a guess."""

_ROWS = 65_536
_TEXTS_AT_ONCE = 100_000


def per_prompt(
    table: "PairTable", schema: pa.Schema, compute: Callable[[pa.Array], list[pa.Array]]
) -> Iterator[pa.RecordBatch]:
    """The columns `schema` for every pair of the table. `compute` gives them for a string array of distinct prompts;
    pairs without a prompt have nulls."""
    with pq.ParquetFile(table.path, read_dictionary=["prompt"]) as file:
        prompts = file.read(columns=["prompt"])["prompt"].unify_dictionaries()
    texts = prompts.chunk(0).dictionary if prompts.num_chunks else pa.array([], pa.string())
    parts = [compute(texts.slice(begin, _TEXTS_AT_ONCE)) for begin in range(0, len(texts), _TEXTS_AT_ONCE)]
    known = pa.Table.from_batches(
        [pa.RecordBatch.from_arrays(part, schema=schema) for part in parts], schema=schema
    ).combine_chunks()
    for chunk in prompts.chunks:
        for begin in range(0, len(chunk), _ROWS):
            rows = known.take(chunk.slice(begin, _ROWS).indices)
            yield from rows.combine_chunks().to_batches()


TEXT_FIELDS: Final = (
    Field("prompt_characters", "number", "characters (code points) of the prompt", "prompt"),
    Field(
        "prompt_words",
        "number",
        "words of the prompt: runs of letters, digits and marks; scripts without spaces have few",
        "prompt",
    ),
    Field(
        "language",
        "text",
        f"the prompt's likeliest language by py3langid, ISO 639-1; {UNDETERMINED} where its probability is below "
        f"{SURE}, as of most prompts of a word or two",
        "prompt",
    ),
    Field(
        "language_probability",
        "number",
        f"probability of the likeliest language among the {len(LANGUAGES)} that are told apart, to thousandths",
        "prompt",
    ),
)
_SCHEMA: Final = pa.schema(
    [
        ("prompt_characters", pa.int32()),
        ("prompt_words", pa.int32()),
        ("language", pa.string()),
        ("language_probability", pa.float64()),
    ]
)


def _columns(prompts: pa.Array) -> list[pa.Array]:
    words = normalised(prompts)
    spaces = pc.count_substring(words, " ")
    which, sure = languages(prompts.to_pylist())
    codes = pa.array([*LANGUAGES, UNDETERMINED])
    return [
        pc.utf8_length(prompts).cast(pa.int32()),
        pc.if_else(pc.equal(words, ""), 0, pc.add(spaces, 1)).cast(pa.int32()),
        codes.take(pa.array(np.where(sure >= SURE, which, len(LANGUAGES)))),
        pa.array(sure),
    ]


def _build(table: "PairTable") -> Iterator[pa.RecordBatch]:
    return per_prompt(table, _SCHEMA, _columns)


TEXT: Final = ColumnSet("text", 1, _SCHEMA, TEXT_FIELDS, _build, "revision")
