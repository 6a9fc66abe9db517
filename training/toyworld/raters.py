"""Who judges in Toyworld: raters whose labels are wrong at a set rate, everywhere alike, in some raters, or where
pairs are hard to tell apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from training.toyworld.world import Floats

CARELESS_SHARE = 0.2
CARELESS_FLIPS = 0.5

NoiseKind = Literal["mixed", "uniform", "raters", "hard"]
"""Where the flipped labels are: `mixed`, a fifth of the raters answer at random and the rest make up the rate;
`uniform`, every rater flips at the rate; `raters`, twice the rate of the raters answer at random and the others never
flip; `hard`, whoever judges flips more often the closer the two pictures are."""

NOISE_KINDS: tuple[str, ...] = get_args(NoiseKind)


@dataclass(frozen=True)
class Raters:
    """N raters. `sharpness` is the slope of their choice in the utility gap; `tie_width` the gap they cannot see;
    `flip_rate` how often the answer that they give is not the one they meant. Arrays of length N. `hard_width` is 0,
    or the utility gap at which flips have fallen to 1/e of their rate."""

    sharpness: Floats
    tie_width: Floats
    flip_rate: Floats
    hard_width: float = 0.0

    def __len__(self) -> int:
        return len(self.flip_rate)

    def flips(self, rater: int, gap: float) -> float:
        """The probability that the rater's answer to a pair of this utility gap is turned round."""
        rate = float(self.flip_rate[rater])
        return rate * float(np.exp(-abs(gap) / self.hard_width)) if self.hard_width else rate


class Answer(NamedTuple):
    """A rater's label for image 0 (1, 0 or 0.5), whether it is the opposite of what was meant, and how likely that
    was."""

    label: float
    flipped: bool
    flip_rate: float


def hire_raters(
    count: int, *, noise: float, seed: int, kind: NoiseKind = "mixed", gaps: Floats | None = None
) -> Raters:
    """Raters whose flips average `noise` (in [0, 0.5]); of kind `mixed`, a fifth answer at random once noise ≥ 0.1.

    `hard` needs `gaps`, utility gaps like those to be judged: the flip rate is 1/2 · e^(−|gap| / width), with the width
    at which its mean over them is `noise`. Raises ValueError for a noise rate outside [0, 0.5] or an unknown kind.
    """
    if not 0 <= noise <= 0.5:
        raise ValueError(f"label noise is a share of wrong labels in [0, 0.5], not {noise}")
    if kind not in NOISE_KINDS:
        raise ValueError(f"label noise is of kind {', '.join(NOISE_KINDS)}, not {kind!r}")
    rng = np.random.default_rng(seed)
    order = np.arange(count)
    careless = order < round(CARELESS_SHARE * count)
    rest = (noise - CARELESS_SHARE * CARELESS_FLIPS) / (1 - CARELESS_SHARE)
    flips = np.where(careless, CARELESS_FLIPS, rest) if rest >= 0 else np.full(count, noise)
    width = 0.0
    if kind == "uniform":
        flips = np.full(count, noise)
    elif kind == "raters":
        flips = np.where(order < round(2 * noise * count), 0.5, 0.0)
    elif kind == "hard":
        if gaps is None:
            raise ValueError("noise of kind hard needs the utility gaps that it is to be averaged over")
        width = _hard_width(np.abs(np.asarray(gaps, np.float64)), noise)
        flips = np.full(count, 0.5 if noise else 0.0)
    return Raters(
        sharpness=rng.uniform(15, 45, count).astype(np.float32),
        tie_width=rng.uniform(0.0, 0.06, count).astype(np.float32),
        flip_rate=rng.permutation(flips).astype(np.float32),
        hard_width=width,
    )


def answer_pair(raters: Raters, rater: int, gap: float, rng: np.random.Generator) -> Answer:
    """What the rater says when image 0's true utility exceeds image 1's by `gap`. A tie is never flipped."""
    if abs(gap) < raters.tie_width[rater]:
        return Answer(0.5, False, 0.0)
    meant = bool(rng.random() < 1 / (1 + np.exp(-raters.sharpness[rater] * gap)))
    rate = raters.flips(rater, gap)
    flipped = bool(rng.random() < rate)
    return Answer(float(meant != flipped), flipped, rate)


def label_pair(raters: Raters, rater: int, gap: float, rng: np.random.Generator) -> float:
    """The label alone."""
    return answer_pair(raters, rater, gap, rng).label


def label_pairs(raters: Raters, gaps: Floats, rng: np.random.Generator) -> NDArray[np.float32]:
    """Labels for image 0 of many pairs, each judged by a rater chosen at random."""
    who = rng.integers(0, len(raters), len(gaps))
    return np.array([label_pair(raters, int(r), float(g), rng) for r, g in zip(who, gaps, strict=True)], np.float32)


def _hard_width(sizes: NDArray[np.float64], noise: float) -> float:
    """The width w at which ½ · e^(−size / w) averages `noise`, by bisection; its mean rises with w."""
    low, high = 1e-6, 1e6
    for _ in range(100):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if 0.5 * np.exp(-sizes / middle).mean() < noise else (low, middle)
    return float(high)
