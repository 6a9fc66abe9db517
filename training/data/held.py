"""Latents in memory, each picture's and framing's made once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ranking.images import ImageError, decode_rgb
from training.data.framing import Framing, frame
from training.data.looks import Looks
from training.data.pairs import Pictures
from training.models.base import DiffusionModel

_ENCODE_BATCH = 64


@dataclass(frozen=True)
class HeldLatents:
    """Latents (C, h, w) and geometry (6,) by uid and framing."""

    of: dict[tuple[str, Framing], tuple[Tensor, tuple[int, ...]]]

    def __call__(self, uids: Sequence[str], framings: Sequence[Framing]) -> tuple[Tensor, Tensor]:
        """See `Latents`."""
        found = [self.of[key] for key in zip(uids, framings, strict=True)]
        return torch.stack([latents for latents, _ in found]), torch.tensor([told for _, told in found])


def hold_latents(
    pictures: Pictures, looks: Looks, model: DiffusionModel, *, on_images: Callable[[int, int], None] | None = None
) -> tuple[HeldLatents, NDArray[np.bool_]]:
    """Decode each picture once and encode its framings; also which of `looks.uids` could be read, bool (M,).
    `on_images` hears (done, total)."""
    places = looks.places
    readable = np.zeros(len(looks.uids), bool)
    held: dict[tuple[str, Framing], tuple[Tensor, tuple[int, ...]]] = {}
    found, done = iter(pictures(looks.uids.to_pylist())), 0
    while batch := list(islice(found, _ENCODE_BATCH)):
        waiting: dict[tuple[int, int], list[tuple[str, Framing]]] = {}
        framed = {}
        for place, (uid, data) in zip(places.of([uid for uid, _ in batch]), batch, strict=True):
            try:
                image = decode_rgb(data)
            except ImageError:
                continue
            readable[place] = True
            for framing in looks.framings(int(place)):
                framed[uid, framing] = frame(image, framing)
                waiting.setdefault(framing.size, []).append((uid, framing))
        for keys in waiting.values():
            latents = model.encode_pixels(torch.stack([framed[key].pixels for key in keys])).cpu()
            held |= {key: (each, framed[key].geometry) for key, each in zip(keys, latents, strict=True)}
        done += len(batch)
        if on_images:
            on_images(done, len(looks.uids))
    return HeldLatents(held), readable
