"""What a committed file may hold: scores, facts about images, or embeddings. The id it is committed under says which,
the slice's items say which rows. Writes none."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ranking.names import scorer_name
from ranking.schema import EMBEDDING_PREFIX, EMBEDDINGS, FACTS, FACTS_NAME, OK, SCORES

IMAGE: Final = "image"
PROMPT: Final = "prompt"
UNIT_LENGTH: Final = 2.0**-10
"""By how much the length of an embedding may differ from 1: rounding to float16 moves it by 2⁻¹¹ at most."""


@dataclass(frozen=True)
class Kind:
    """A kind of committed file: what it holds in a word or two, its columns, and of a slice's items (any table with
    `image_uid` and `prompt_id`) the key columns of the rows it must have, in their order."""

    what: str
    schema: pa.Schema
    keys: Callable[[pa.Table], pa.Table]


def _items(items: pa.Table) -> pa.Table:
    return items.select(["image_uid", "prompt_id"])


def _images(items: pa.Table) -> pa.Table:
    return pa.table({"image_uid": pc.unique(items["image_uid"]).cast(pa.string())})


def _embedded(items: pa.Table) -> pa.Table:
    images, prompts = pc.unique(items["image_uid"]), pc.unique(items["prompt_id"])
    words = pa.array([IMAGE] * len(images) + [PROMPT] * len(prompts), pa.string())
    return pa.table({"kind": words, "key": pa.concat_arrays([images, prompts]).cast(pa.string())})


SCORE_SHARD = Kind("scores", SCORES, _items)
FACT_SHARD = Kind("image facts", FACTS, _images)
EMBEDDING_SHARD = Kind("embeddings", EMBEDDINGS, _embedded)


def kind_of(committed_id: str) -> Kind:
    """What is committed under an id `name@fingerprint`; UsageError if it does not read so."""
    return kind_of_name(scorer_name(committed_id))


def kind_of_name(name: str) -> Kind:
    """What is committed under ids of this name. A scorer may only have a name whose kind is SCORE_SHARD."""
    if name == FACTS_NAME:
        return FACT_SHARD
    return EMBEDDING_SHARD if name.startswith(EMBEDDING_PREFIX) else SCORE_SHARD


def holds_scores(committed_id: str) -> bool:
    """Whether commits under this id are scores, so that the id is a scorer's."""
    return kind_of(committed_id) is SCORE_SHARD


def embedding_flaw(table: pa.Table) -> str | None:
    """What is wrong with the vectors of an EMBEDDINGS table, in a few words, or None: they are there where the status
    is "ok" and nowhere else, have one dimension, are finite and of length 1 within UNIT_LENGTH."""
    if table.num_rows == 0:
        return None
    good = pc.fill_null(pc.equal(table["status"], OK), False)
    if not pc.all(pc.equal(pc.is_valid(table["embedding"]), good)).as_py():
        return "an embedding is present without status ok, or the other way round"
    sizes = pc.unique(pc.list_value_length(table["embedding"].drop_null())).to_pylist()
    if len(sizes) > 1:
        return f"the embeddings have {len(sizes)} dimensions, {min(sizes)} and {max(sizes)} among them"
    if not sizes:
        return None
    if not sizes[0]:
        return "the embeddings have no dimension"
    for chunk in table["embedding"].chunks:
        if chunk.flatten().null_count:
            return "an embedding has a null in it"
        lengths = np.linalg.norm(vectors_of(chunk).astype(np.float32), axis=1)
        if not np.isfinite(lengths).all():
            return "an embedding has a value that is not finite"
        if (np.abs(lengths - 1) > UNIT_LENGTH).any():
            worst = lengths[np.abs(lengths - 1).argmax()]
            return f"an embedding has the length {worst:.4f}, not 1"
    return None


def vectors_of(column: pa.ListArray) -> npt.NDArray[np.float16]:
    """The vectors of a column of lists that have one length, float16 of shape (rows that are not null, dimension);
    (0, 0) where all are null."""
    rows = len(column) - column.null_count
    values: npt.NDArray[np.float16] = column.flatten().to_numpy()
    return values.reshape(rows, -1) if rows else np.zeros((0, 0), np.float16)
