"""Commits made-up embeddings for the slices of a dataset, so that tests of the store need no tower."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ranking import plan
from ranking.schema import EMBEDDINGS, MISSING, OK
from ranking.store.blobs import Store
from ranking.store.commits import commit_embeddings

CLIP = "embedding-clip-l14@0123456789ab"


def table_of(kinds: list[str], keys: list[str], vectors: list[Any]) -> pa.Table:
    """A table as `commit_embeddings` wants it; a vector of None has the status "missing"."""
    values = pa.array([None if v is None else np.array(v, np.float16) for v in vectors], EMBEDDINGS.field(2).type)
    return pa.table([kinds, keys, values, [MISSING if v is None else OK for v in vectors]], schema=EMBEDDINGS)


def vector_of(key: str, dimension: int = 6) -> npt.NDArray[np.float16]:
    drawn = np.random.default_rng(list(key.encode())).standard_normal(dimension)
    return (drawn / np.linalg.norm(drawn)).astype(np.float16)


def embed_all(
    store: Store, *, absent: dict[int, set[str]] | None = None, embedding_id: str = CLIP, units: int | None = None
) -> None:
    """Embed the first `units` slices of "pets"; in slice i the keys in `absent[i]` are missing."""
    job = plan.create_plan(store, "pets", [embedding_id])
    for index, piece in enumerate(job.slices[:units]):
        items = plan.read_items(store, job, piece)
        images, prompts = (pc.unique(items[name]).to_pylist() for name in ("image_uid", "prompt_id"))
        keys = [*images, *prompts]
        vectors = [None if key in (absent or {}).get(index, set()) else vector_of(key) for key in keys]
        table = table_of(["image"] * len(images) + ["prompt"] * len(prompts), keys, vectors)
        commit_embeddings(store, embedding_id=embedding_id, unit=piece.unit, table=table, attempt="test", items=items)
