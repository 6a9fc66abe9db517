"""What reports share about uncertainty: a value with its 95 % interval, and the intervals of shares and
differences."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_Z = 1.959963984540054


@dataclass(frozen=True)
class Estimate:
    """A value and the ends of its 95 % interval; what the interval is over says whoever made it."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, value: float, drawn: Floats, *, clusters: int | None = None) -> Estimate:
        """With the percentile bootstrap's interval of the finite among `drawn` values; NaN ends where none is, or where
        a single cluster was drawn from, again and again."""
        known = drawn[np.isfinite(drawn)] if clusters != 1 else drawn[:0]
        low, high = np.quantile(known, [0.025, 0.975]) if len(known) else (np.nan, np.nan)
        return cls(float(value), float(low), float(high))


def effective(whole: Floats) -> float:
    """As how many independent things clusters of these sizes count at least (Kish): (Σ n)² / Σ n²."""
    return float(whole.sum() ** 2 / (whole**2).sum()) if whole.any() else 0.0


def resampled_share(share: float, drawn: Floats, n: float) -> Estimate:
    """A share with the percentile bootstrap's interval of `drawn` ones, or, where no resample knows another share (all
    or none, one cluster, clusters all alike), with Wilson's as of n independent things."""
    found = Estimate.of(share, drawn)
    return wilson(share, n) if found.low == found.high else found


def wilson(share: float, n: float) -> Estimate:
    """A proportion of n independent things with Wilson's score interval, 95 %."""
    if n <= 0:
        return Estimate(share, np.nan, np.nan)
    middle = (share + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    reach = _Z / (1 + _Z**2 / n) * np.sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2))
    return Estimate(share, float(max(0.0, middle - reach)), float(min(1.0, middle + reach)))


def between(first: Estimate, second: Estimate) -> Estimate:
    """The difference of two estimates as if independent, by the limits of each (Newcombe's hybrid method)."""
    value = first.value - second.value
    down = np.hypot(first.value - first.low, second.high - second.value)
    up = np.hypot(first.high - first.value, second.value - second.low)
    return Estimate(value, float(value - down), float(value + up))
