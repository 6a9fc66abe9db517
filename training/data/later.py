"""How single pictures are read in another process: by what can be sent to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import pyarrow as pa

from ranking.datasets import Dataset, get_dataset
from ranking.images import Found, ImageReader
from ranking.images.fetch import url_fetcher
from ranking.settings import load_settings
from ranking.store.blobs import Store
from training.data.uids import Places

Reading = Callable[[], dict[str, Found]]
"""Gives pictures' bytes by uid, in whatever process it is called: it can be pickled."""
Later = Callable[[Sequence[str]], Reading]
"""Called with uids: how to read their pictures."""


@dataclass(frozen=True)
class ReadFromSources:
    """Reads what a store's dataset has at some `places` (the columns POINTER)."""

    store: str
    dataset: str
    revision: int
    places: pa.Table

    def __call__(self) -> dict[str, Found]:
        """By uid."""
        return _reader(self.store, self.dataset, self.revision).read_items(self.places)


def from_sources(store: Store, dataset: Dataset, find: Callable[[], pa.Table]) -> Later:
    """Pictures of a dataset; `find` gives where all of a run's lie, and is called when the first is asked for."""

    @lru_cache(maxsize=1)
    def pointers() -> tuple[pa.Table, Places]:
        found = find().combine_chunks()
        uids = found["image_uid"].cast(pa.string())
        return found, Places(pa.concat_arrays(uids.chunks) if uids.num_chunks else pa.array([], pa.string()))

    def later(uids: Sequence[str]) -> Reading:
        found, places = pointers()
        known = [place for place in places.of(uids).tolist() if place >= 0]
        return ReadFromSources(store.uri, dataset.name, dataset.revision, found.take(known))

    return later


@lru_cache(maxsize=2)
def _reader(uri: str, name: str, revision: int) -> ImageReader:
    store = Store.open(uri)
    dataset = get_dataset(store, name, revision=revision)
    return ImageReader(store, dataset, fetch=url_fetcher(load_settings()))
