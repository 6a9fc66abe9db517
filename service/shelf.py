"""What is kept in memory to find pictures: indexes of datasets, packs of thumbnails that are open, thumbnails made a
moment ago. All of it bounded, and none of it written anywhere."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Final, Generic, TypeVar

from ranking.datasets import Dataset
from ranking.errors import PairsieveError
from ranking.images import ImageReader
from ranking.images.fetch import url_fetcher
from ranking.images.index import ImageIndex
from ranking.images.thumbnails import Pack, pack_key
from ranking.settings import Settings
from ranking.store.blobs import Store

log = logging.getLogger("pairsieve.service")

_DATASETS: Final = 4
_PACKS: Final = 64
"""Each knows the uids of a unit: some hundred kB."""

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Recent(Generic[K, V]):
    """Keeps what was used last, up to a weight in all; safe among threads."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held = 0
        self._kept: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: K) -> V | None:
        """What is kept under a key, or None."""
        with self._lock:
            if key not in self._kept:
                return None
            self._kept.move_to_end(key)
            return self._kept[key][0]

    def put(self, key: K, value: V, *, weight: int = 1) -> None:
        """Keep a value, and let go of what was used longest ago."""
        with self._lock:
            if key in self._kept:
                self._held -= self._kept.pop(key)[1]
            self._kept[key] = (value, weight)
            self._held += weight
            while self._held > self._most:
                self._held -= self._kept.popitem(last=False)[1][1]

    def forget(self, key: K) -> None:
        """Let go of what is kept under a key."""
        with self._lock:
            if key in self._kept:
                self._held -= self._kept.pop(key)[1]

    def clear(self) -> None:
        """Let go of everything."""
        with self._lock:
            self._kept.clear()
            self._held = 0

    @property
    def held(self) -> int:
        """The weight of all that is kept."""
        return self._held


class Shelf:
    """Readers and indexes by dataset, packs by unit."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._fetch = url_fetcher(settings)
        self._datasets: Recent[str, tuple[ImageIndex, ImageReader]] = Recent(_DATASETS)
        self._packs: Recent[str, Pack | str] = Recent(_PACKS)
        self._building = threading.Lock()

    def of(self, dataset: Dataset) -> tuple[ImageIndex, ImageReader]:
        """What finds and what reads the dataset's images; built when first asked for."""
        key = f"{dataset.name}@{dataset.revision_sha}"
        known = self._datasets.get(key)
        if known is None:
            with self._building:
                known = self._datasets.get(key)
                if known is None:
                    index = ImageIndex(self._store, dataset)
                    known = (index, ImageReader(self._store, dataset, fetch=self._fetch))
                    self._datasets.put(key, known)
        return known

    def packed(self, dataset: Dataset, uid: str) -> bytes | None:
        """The thumbnail of an image that scoring made, or None: not scored yet, or the pack is lost or damaged."""
        index, _ = self.of(dataset)
        for unit in index.units(uid):
            pack = self._pack(unit)
            try:
                webp = pack.read(uid) if pack is not None else None
            except PairsieveError as error:
                if error.code == "made-anew":
                    self._packs.forget(unit)
                else:
                    self._spoiled(unit, error)
                continue
            if webp is not None:
                return webp
        return None

    def forget_packs(self) -> None:
        """Open every pack anew when it is next asked for."""
        self._packs.clear()

    def _pack(self, unit: str) -> Pack | None:
        known = self._packs.get(unit)
        if known is None:
            key = pack_key(unit)
            try:
                if not self._store.exists(key):
                    return None  # and not remembered: it comes when the unit is scored
                known = Pack.open(self._store.local(key))
            except PairsieveError as error:
                self._spoiled(unit, error)
                return None
            self._packs.put(unit, known)
        return known if isinstance(known, Pack) else None

    def _spoiled(self, unit: str, error: PairsieveError) -> None:
        self._packs.put(unit, str(error))
        log.warning("%s is of no use, thumbnails are made on demand; delete it: %s", pack_key(unit), error)
