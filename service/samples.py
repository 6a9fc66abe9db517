"""Images that a model drew for an evaluation, as the store keeps them: a Parquet of prompt, seed, image. Draws
nothing."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ranking.errors import NotFoundError, StoreError
from ranking.names import check_id
from ranking.store.blobs import Store
from service.pictures import Picture, checked_picture, is_small


@dataclass(frozen=True)
class Sample:
    """One drawn image: its place in the file, and what it was drawn from."""

    index: int
    prompt: str
    seed: int


def list_samples(store: Store, samples_id: str) -> list[Sample]:
    """The samples under an id, in order; NotFoundError if there are none."""
    table = _captions(_path(store, samples_id))
    rows = zip(table["prompt"].to_pylist(), table["seed"].to_pylist(), strict=True)
    return [Sample(index, prompt, seed) for index, (prompt, seed) in enumerate(rows)]


def sample_picture(store: Store, samples_id: str, index: int) -> Picture:
    """One sample's image; NotFoundError if there is no such sample."""
    images = _images(_path(store, samples_id))
    if not 0 <= index < len(images):
        raise NotFoundError(f"samples {samples_id} have no image {index}", hint=f"there are {len(images)}")
    return checked_picture(images[index].as_py())


def are_small(store: Store, samples_id: str) -> bool:
    """Whether the samples, judged by the first, are so small that they should be drawn with hard pixels."""
    return is_small(sample_picture(store, samples_id, 0).data)


def _path(store: Store, samples_id: str) -> Path:
    key = f"samples/{check_id('samples', samples_id)}.parquet"
    if not store.exists(key):
        raise NotFoundError(f"there are no samples {samples_id}")
    return store.local(key)


@lru_cache(maxsize=16)
def _captions(path: Path) -> pa.Table:
    return _read(path, ["prompt", "seed"])


@lru_cache(maxsize=2)  # base and run; at 512 px a file is tens of megabytes
def _images(path: Path) -> pa.ChunkedArray:
    return _read(path, ["image"])["image"]


def _read(path: Path, columns: list[str]) -> pa.Table:
    try:
        return pq.read_table(path, columns=columns, partitioning=None)
    except (pa.ArrowException, OSError, KeyError) as error:
        raise StoreError(f"{path} cannot be read as samples", code="damaged") from error
