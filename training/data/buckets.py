"""Sizes of about equal area and different proportions, so that pictures need not all be cut to squares, and which of
them a pair has."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.models.base import DiffusionModel

Size = tuple[int, int]
LONGEST = 2
"""A side is at most this many times the square's, so proportions go to 4 : 1."""


@dataclass(frozen=True)
class Buckets:
    """`sizes` (height, width), and `of` int16 (N,), the place in them of each pair's."""

    sizes: tuple[Size, ...]
    of: NDArray[np.int16]

    def at(self, places: NDArray[np.int64]) -> Buckets:
        """Those of some pairs."""
        return Buckets(self.sizes, self.of[places])


def square(count: int, side: int) -> Buckets:
    """All pairs in one bucket."""
    return Buckets(((side, side),), np.zeros(count, np.int16))


def bucket_sizes(side: int, step: int) -> tuple[Size, ...]:
    """Sizes whose sides are multiples of `step`, from tall to wide: each short side of half the square's or more, with
    the longest side that does not exceed the square's area, so that no bucket needs more memory than the square. It
    falls short of that area by less than `step` times the short side."""
    most = side - side % step
    found = {(most, most)}
    for short in range(-(-side // (LONGEST * step)) * step, most, step):
        long = side * side // (short * step) * step
        found |= {(short, long), (long, short)}
    return tuple(sorted(found, key=lambda size: size[1] / size[0]))


def step_of(model: DiffusionModel, side: int) -> int:
    """What bucket sides are multiples of: as much as the denoiser needs to halve and double its latents, and about a
    sixteenth of the side: 64 px at 512 and at 1024."""
    config = model.denoiser.config
    halvings = len(config["down_block_types"]) - 1 if "down_block_types" in config else 0
    needed = model.stride * config.get("patch_size", 1) * 2**halvings
    return needed * max(1, round(side / 16 / needed))


def assign(sizes: tuple[Size, ...], pictures: NDArray[np.integer]) -> NDArray[np.int16]:
    """For pictures (N, 2) of some height and width the place of the size that is nearest in proportion."""
    wide = np.log(np.array([width / height for height, width in sizes]))
    edges = (wide[1:] + wide[:-1]) / 2
    return np.searchsorted(edges, np.log(pictures[:, 1] / pictures[:, 0])).astype(np.int16)
