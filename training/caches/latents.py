"""The VAE's latents of each picture and framing, on disk. Neither the denoiser nor anything of the training decides
what they are."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from training.caches.filling import Part
from training.caches.places import Identity
from training.caches.seeing import seen
from training.caches.shelf import Keys, Shelf, keys_of
from training.caches.work import Work
from training.config import TrainConfig
from training.data.encoding import Storage, arithmetic, encode_pictures, pictures_at_once
from training.data.framing import Framed, Framing, frame
from training.data.looks import Looks
from training.data.pairs import PairSource
from training.models.base import DiffusionModel
from training.progress import Progress, silent

VERSION = 2
"""To be raised when a picture is decoded, framed, encoded or named otherwise than before."""

_AT_ONCE = 4096
_FACTS_BYTES = 56  # of geometry and hash


def latents_identity(model: DiffusionModel, config: TrainConfig) -> Identity:
    """All that latents depend on, but for the picture and its framing, which name the row."""
    key = {
        "version": VERSION,
        "vae": model.vae_fingerprint,
        "storage": config.cache.storage,
        "arithmetic": arithmetic(model, config),
    }
    return Identity("latents", model.name, key)


def latents_key(origin: str, uid: str, framing: Framing) -> str:
    """What names a row: within a dataset an image's uid names its bytes, and the framing says what is seen of it."""
    (height, width), (top, left) = framing.size, framing.crop
    return f"{origin} {uid} {height}x{width} {top!r},{left!r} {'flipped' if framing.flipped else 'as it is'}"


@dataclass(frozen=True)
class KeptLatents:
    """`Latents` from disk: what a batch needs is read when it needs it."""

    shelf: Shelf
    origin: str

    def __call__(self, uids: Sequence[str], framings: Sequence[Framing]) -> tuple[Tensor, Tensor]:
        """See `training.data.protocols.Latents`. PairsieveError for a row that was damaged since it was checked."""
        keys = keys_of(latents_key(self.origin, uid, framing) for uid, framing in zip(uids, framings, strict=True))
        rows = self.shelf.rows(keys, only=("latents", "geometry"))
        return torch.from_numpy(rows["latents"]).float(), torch.from_numpy(rows["geometry"]).long()


@dataclass(frozen=True)
class LatentsWork:
    """The latents of a run's `looks`: the `work`, the place in `looks.uids` of each key's picture, how many there are,
    and what was taken down by its bytes."""

    work: Work
    image: NDArray[np.int64]
    images: int
    contents_taken: frozenset[str]

    def fill(self, *, tell: Progress = silent, turn: float = 0.0) -> NDArray[np.bool_]:
        """Make what is missing; bool (M,) over `looks.uids`: which pictures could be read, all framings of them. One
        that was taken down by its bytes could not, though its latents be kept since before; then they go."""
        there = self.work.fill(tell=tell, turn=turn)
        if self.contents_taken and self._drop_taken(self.work.keys[there]):
            there = self.work.fill(tell=tell, turn=turn)
        return np.bincount(self.image[~there], minlength=self.images) == 0

    def _drop_taken(self, keys: Keys) -> bool:
        taken = np.array([bytes.fromhex(each) for each in self.contents_taken], "S32")
        found = np.zeros(len(keys), bool)
        for start in range(0, len(keys), _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            hashes = self.work.shelf.rows(keys[part], only=("sha256",))["sha256"]
            found[part] = np.isin(np.frombuffer(hashes.tobytes(), "S32"), taken)
        self.work.shelf.drop(keys[found])
        return bool(found.any())


def latents_work(looks: Looks, source: PairSource, model: DiffusionModel, config: TrainConfig) -> LatentsWork:
    """What a run's latents are made of and how. Opens the cache and reads its index; nothing is encoded."""
    storage = config.cache.storage
    names = source.ordered(looks.uids).to_pylist()
    image: list[int] = []
    framings: list[Framing] = []
    for place in looks.places.of(names).tolist():
        ways = looks.framings(place)
        framings += ways
        image += [place] * len(ways)
    uids = looks.uids.take(pa.array(image)).to_pylist()
    keys = keys_of(latents_key(source.origin, uid, way) for uid, way in zip(uids, framings, strict=True))
    elements = np.array([way.size for way in framings], np.int64).prod(1) // model.stride**2 * model.latent_channels

    def make(places: list[int]) -> Iterator[Part]:
        wanted: dict[str, list[int]] = {}
        for place in places:
            wanted.setdefault(uids[place], []).append(place)

        def framed(uid: str, image: Image.Image, data: bytes) -> list[_Seen]:
            digest = hashlib.sha256(data).digest()
            return [(place, frame(image, framings[place]), digest) for place in wanted[uid]]

        waiting: dict[tuple[int, int], list[_Seen]] = {}
        for _, looks_at in seen(source.pictures, list(wanted), framed):
            for look in looks_at:
                size = framings[look[0]].size
                waiting.setdefault(size, []).append(look)
                if len(waiting[size]) == pictures_at_once(*size):
                    yield _encoded(model, waiting.pop(size), storage)
        for left in waiting.values():
            yield _encoded(model, left, storage)

    work = Work(
        what="latents of pictures",
        switch="cache.latents: false",
        shelf=Shelf(latents_identity(model, config)),
        keys=keys,
        make=make,
        row_bytes=elements * np.dtype(storage).itemsize + _FACTS_BYTES,
    )
    return LatentsWork(work, np.array(image, np.int64), len(looks.uids), source.contents_taken())


_Seen = tuple[int, Framed, bytes]
"""A key's place, the framed picture, and the SHA-256 of its bytes."""


def _encoded(model: DiffusionModel, waiting: Sequence[_Seen], storage: Storage) -> Part:
    latents = encode_pictures(model, [framed.pixels for _, framed, _ in waiting], storage=storage)
    return [place for place, _, _ in waiting], {
        "latents": latents.numpy().astype(storage),
        "geometry": np.array([framed.geometry for _, framed, _ in waiting], np.int32),
        "sha256": np.frombuffer(b"".join(digest for _, _, digest in waiting), np.uint8).reshape(-1, 32),
    }
