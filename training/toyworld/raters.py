"""Who judges in Toyworld: raters of different care, whose labels are wrong at a set rate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.toyworld.world import Floats

CARELESS_SHARE = 0.2
CARELESS_FLIPS = 0.5


@dataclass(frozen=True)
class Raters:
    """N raters. `sharpness` is the slope of their choice in the utility gap; `tie_width` the gap they cannot see;
    `flip_rate` how often the answer that they give is not the one they meant. Arrays of length N."""

    sharpness: Floats
    tie_width: Floats
    flip_rate: Floats

    def __len__(self) -> int:
        return len(self.flip_rate)


def hire_raters(count: int, *, noise: float, seed: int) -> Raters:
    """Raters whose flips average `noise` (in [0, 0.5]); a fifth of them answer at random once noise ≥ 0.1.

    Raises ValueError for a noise rate outside [0, 0.5].
    """
    if not 0 <= noise <= 0.5:
        raise ValueError(f"label noise is a share of wrong labels in [0, 0.5], not {noise}")
    rng = np.random.default_rng(seed)
    careless = np.arange(count) < round(CARELESS_SHARE * count)
    rest = (noise - CARELESS_SHARE * CARELESS_FLIPS) / (1 - CARELESS_SHARE)
    flips = np.where(careless, CARELESS_FLIPS, rest) if rest >= 0 else np.full(count, noise)
    return Raters(
        sharpness=rng.uniform(15, 45, count).astype(np.float32),
        tie_width=rng.uniform(0.0, 0.06, count).astype(np.float32),
        flip_rate=rng.permutation(flips).astype(np.float32),
    )


def label_pair(raters: Raters, rater: int, gap: float, rng: np.random.Generator) -> float:
    """The rater's label for image 0 (1, 0 or 0.5) when its true utility exceeds image 1's by `gap`."""
    if abs(gap) < raters.tie_width[rater]:
        return 0.5
    meant = rng.random() < 1 / (1 + np.exp(-raters.sharpness[rater] * gap))
    if rng.random() < raters.flip_rate[rater]:
        meant = not meant
    return float(meant)


def label_pairs(raters: Raters, gaps: Floats, rng: np.random.Generator) -> NDArray[np.float32]:
    """Labels for image 0 of many pairs, each judged by a rater chosen at random."""
    who = rng.integers(0, len(raters), len(gaps))
    return np.array([label_pair(raters, int(r), float(g), rng) for r, g in zip(who, gaps, strict=True)], np.float32)
