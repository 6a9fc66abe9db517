"""The VAE's latents of each picture and framing, on disk. Neither the denoiser nor anything of the training decides
what they are."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ranking.images import Found, ImageError, decode_rgb
from training.caches.encoding import Storage, arithmetic, encode_pictures, pictures_at_once
from training.caches.filling import Part
from training.caches.places import Identity
from training.caches.shelf import Shelf, keys_of
from training.caches.work import Work
from training.data.framing import Framed, Framing, frame
from training.data.looks import Looks
from training.data.pairs import Pictures
from training.models.base import DiffusionModel

VERSION = 1
"""To be raised when a picture is decoded, framed, encoded or named otherwise than before."""

_AHEAD = 64


def latents_identity(model: DiffusionModel, *, storage: Storage) -> Identity:
    """All that latents depend on, but for the picture and its framing, which name the row."""
    key = {"version": VERSION, "vae": model.vae_fingerprint, "storage": storage, "arithmetic": arithmetic(model)}
    return Identity("latents", model.name, key)


def latents_key(uid: str, framing: Framing) -> str:
    """What names a row: an image uid is a hash of its bytes, and the framing says what is seen of it."""
    (height, width), (top, left) = framing.size, framing.crop
    return f"{uid} {height}x{width} {top!r},{left!r} {'flipped' if framing.flipped else 'as it is'}"


@dataclass(frozen=True)
class KeptLatents:
    """`Latents` from disk: what a batch needs is read when it needs it."""

    shelf: Shelf

    def __call__(self, uids: Sequence[str], framings: Sequence[Framing]) -> tuple[Tensor, Tensor]:
        """See `training.data.protocols.Latents`. PairsieveError for a row that was damaged since it was checked."""
        keys = keys_of(latents_key(uid, framing) for uid, framing in zip(uids, framings, strict=True))
        rows = self.shelf.rows(keys)
        return torch.from_numpy(rows["latents"]).float(), torch.from_numpy(rows["geometry"]).long()


@dataclass(frozen=True)
class LatentsWork:
    """The latents of a run's `looks`: what is to be made of them, and which pictures can be read."""

    work: Work
    image: NDArray[np.int64]
    images: int

    def readable(self, there: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Bool (M,) over `looks.uids`, from which keys have a row."""
        lacking = np.bincount(self.image[~there], minlength=self.images)
        return lacking == 0


def latents_work(
    looks: Looks, pictures: Pictures, model: DiffusionModel, *, storage: Storage, order: NDArray[np.int64] | None = None
) -> LatentsWork:
    """`order` are the places of all `looks.uids` in the order in which `pictures` has them."""
    order = np.arange(len(looks.uids)) if order is None else order
    image: list[int] = []
    framings: list[Framing] = []
    for place in order.tolist():
        ways = looks.framings(place)
        framings += ways
        image += [place] * len(ways)
    names = looks.uids.to_pylist()
    keys = keys_of(latents_key(names[place], framing) for place, framing in zip(image, framings, strict=True))
    stride, channels = model.stride, model.latent_channels
    width = np.dtype(storage).itemsize
    sizes = [channels * (way.size[0] // stride) * (way.size[1] // stride) * width + 24 for way in framings]
    shelf = Shelf(latents_identity(model, storage=storage))

    def make(places: list[int]) -> Iterator[Part]:
        wanted: dict[str, list[int]] = {}
        for place in places:
            wanted.setdefault(names[image[place]], []).append(place)
        waiting: dict[tuple[int, int], list[tuple[int, Framed]]] = {}
        for uid, framed in _framed(pictures, {uid: [framings[p] for p in at] for uid, at in wanted.items()}):
            for place, seen in zip(wanted[uid], framed, strict=True):
                size = framings[place].size
                waiting.setdefault(size, []).append((place, seen))
                if len(waiting[size]) == pictures_at_once(*size):
                    yield _encoded(model, waiting.pop(size), storage)
        for left in waiting.values():
            yield _encoded(model, left, storage)

    work = Work(
        what="latents of pictures",
        switch="cache.latents: false",
        shelf=shelf,
        keys=keys,
        make=make,
        row_bytes=np.array(sizes, np.int64),
    )
    return LatentsWork(work, np.array(image, np.int64), len(looks.uids))


def _encoded(model: DiffusionModel, waiting: list[tuple[int, Framed]], storage: Storage) -> Part:
    latents = encode_pictures(model, [framed.pixels for _, framed in waiting], storage=storage)
    geometry = np.array([framed.geometry for _, framed in waiting], np.int32)
    return [place for place, _ in waiting], {"latents": latents.numpy().astype(storage), "geometry": geometry}


def _framed(pictures: Pictures, wanted: dict[str, list[Framing]]) -> Iterator[tuple[str, list[Framed]]]:
    """Pictures as they are framed, decoded by threads that run ahead of the encoder; those that cannot be read are left
    out."""

    def look(uid: str, data: Found) -> list[Framed] | None:
        try:
            image = decode_rgb(data)
        except ImageError:
            return None
        return [frame(image, framing) for framing in wanted[uid]]

    found = iter(pictures(list(wanted)))
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        ahead: list[tuple[str, Future[list[Framed] | None]]] = []
        while True:
            ahead += [(uid, pool.submit(look, uid, data)) for uid, data in islice(found, _AHEAD - len(ahead))]
            if not ahead:
                return
            uid, future = ahead.pop(0)
            framed = future.result()
            if framed is not None:
                yield uid, framed
