"""Whether probabilities come true: reliability tables and the expected calibration error."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
BINS = 10


@dataclass(frozen=True)
class Bin:
    """Pairs whose probability lies in one bin: its mean, and the share in which what was predicted came true."""

    pairs: int
    said: float
    came: float


@dataclass(frozen=True)
class Reliability:
    """`bins` without empty ones; `ece`, the mean of |said − came| over pairs."""

    bins: tuple[Bin, ...]
    ece: float
    pairs: int


def reliability(said: Floats, came: Floats, *, low: float = 0.0) -> Reliability:
    """The reliability of probabilities `said`, all at least `low`, against `came` (0 or 1, or a share of votes), in
    ten equal bins from `low` to 1."""
    place = np.clip(((said - low) / (1 - low) * BINS).astype(np.int64), 0, BINS - 1)
    count = np.bincount(place, minlength=BINS)
    sums = [np.bincount(place, values, BINS) for values in (said, came)]
    filled = np.flatnonzero(count)
    bins = tuple(
        Bin(int(count[b]), round(float(sums[0][b] / count[b]), 6), round(float(sums[1][b] / count[b]), 6))
        for b in filled
    )
    total = int(count.sum())
    ece = float(np.abs(sums[0] - sums[1]).sum() / total) if total else 0.0
    return Reliability(bins, round(ece, 6), total)
