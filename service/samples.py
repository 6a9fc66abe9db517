"""Images that a model drew, for an evaluation or while it was trained, as the store keeps them: a Parquet of prompt,
seed, image. Draws nothing."""

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


def samples_key(samples_id: str) -> str:
    """Where the samples of an evaluation lie, by their id."""
    return f"samples/{check_id('samples', samples_id)}.parquet"


def run_samples_key(run_id: str, step: int) -> str:
    """Where the samples lie that a run drew before a step."""
    return f"runs/{check_id('run', run_id)}/samples/{step:010d}.parquet"


def list_samples(store: Store, key: str) -> list[Sample]:
    """The samples under a key, in order; NotFoundError if there are none."""
    table = _captions(_path(store, key))
    rows = zip(table["prompt"].to_pylist(), table["seed"].to_pylist(), strict=True)
    return [Sample(index, prompt, seed) for index, (prompt, seed) in enumerate(rows)]


def sample_picture(store: Store, key: str, index: int) -> Picture:
    """One sample's image; NotFoundError if there is no such sample."""
    images = _images(_path(store, key))
    if not 0 <= index < len(images):
        raise NotFoundError(f"these samples have no image {index}", hint=f"there are {len(images)}")
    return checked_picture(images[index].as_py())


def are_small(store: Store, key: str) -> bool:
    """Whether the samples, judged by the first, are so small that they should be drawn with hard pixels."""
    return is_small(sample_picture(store, key, 0).data)


def _path(store: Store, key: str) -> Path:
    if not store.exists(key):
        raise NotFoundError(f"there are no samples {key.removeprefix('samples/').removesuffix('.parquet')}")
    return store.local(key)


@lru_cache(maxsize=16)
def _captions(path: Path) -> pa.Table:
    return _read(path, ["prompt", "seed"])


@lru_cache(maxsize=4)  # base and run, or two grids of a run; at 512 px a file is tens of megabytes
def _images(path: Path) -> pa.ChunkedArray:
    return _read(path, ["image"])["image"]


def _read(path: Path, columns: list[str]) -> pa.Table:
    try:
        return pq.read_table(path, columns=columns, partitioning=None)
    except (pa.ArrowException, OSError, KeyError) as error:
        raise StoreError(f"{path} cannot be read as samples", code="damaged") from error
