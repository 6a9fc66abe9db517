"""Images of one prompt compared with each other by several scorers: calibrated win rates and Pareto fronts, for prompts
of any size. Knows arrays only."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from ranking.features import pareto
from ranking.metrics.elementary import LN2_HIGH, LN2_LOW, TAYLOR

EXACT = 256
"""Images of a prompt up to which each is compared with every other for its win rate; of more, with so many of them."""

_THREADS = 2
_AT_ONCE = 32_768
_FURTHEST = 345.0  # e^−345 squared is still a number

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]


def win_rates(scores: npt.NDArray[np.floating], groups: Int) -> Float:
    """The calibrated rewards of n images by k scorers: of each scorer the mean of σ(R_i − R_j) over the other images j
    of the group, float64 of shape (n, k), 0 to 1; ½ for an image that is alone, NaN for one that lacks a score, with
    which none is compared. `scores` has shape (n, k), `groups` (n,).

    Exact for groups of up to EXACT images. In larger ones the mean is taken over EXACT of their scores, those in the
    middle of as many equal shares in their order; as σ rises by at most 1 in all, that moves a rate by at most
    2 / EXACT (Koksma's inequality), and by 10⁻⁵ or so where scores are spread smoothly.
    """
    found = np.full(scores.shape, np.nan)
    whole = np.flatnonzero(~np.isnan(scores).any(axis=1))
    order = whole[np.argsort(groups[whole], kind="stable")]
    begins, sizes = _runs(groups[order])
    blocks = [members for size in np.unique(sizes[sizes > 1]) for members in _blocks(begins[sizes == size], int(size))]

    def of_one(scorer: npt.NDArray[np.floating]) -> Float:
        values = scorer[order].astype(np.float64)
        rates = np.full(len(values), 0.5)
        for members in blocks:
            rates[members] = _rates(values[members])
        return rates

    with ThreadPoolExecutor(_THREADS) as pool:  # numpy lets go of the interpreter where it computes
        for column, rates in enumerate(pool.map(of_one, scores.T)):
            found[order, column] = rates
    return found


def fronts(scores: npt.NDArray[np.floating], groups: Int) -> npt.NDArray[np.int32]:
    """The Pareto front of each of n images in its group, as `ranking.features.pareto.fronts` has it: int32 of shape
    (n,), 1 the best, 0 without all scores. `scores` has shape (n, k).

    Exact for groups of up to `pareto.MOST` images. Of larger ones as many are compared with each other, evenly spaced
    in the order of their scores, and every other image stands one front behind the last of those that dominate it; so
    no image is put behind its true front, and the work grows with the images, not with their square.
    """
    found = pareto.fronts(scores, groups)
    whole = ~np.isnan(scores).any(axis=1)
    if not whole.any():
        return found
    large = whole & (np.bincount(groups[whole], minlength=int(groups.max()) + 1)[groups] > pareto.MOST)
    members = np.flatnonzero(large)
    order = members[np.lexsort((*(-scores[members]).T, groups[members]))]
    for begin, size in zip(*_runs(groups[order]), strict=True):
        inside = order[begin : begin + size]
        found[inside] = _fronts_by_some(scores[inside])
    return found


def _rates(values: Float) -> Float:
    """The win rates inside groups of one size: shape (groups, size)."""
    size = values.shape[1]
    # σ(a − b) = e^a / (e^a + e^b): one exponential an image in place of one a comparison.
    own = _exponential(np.maximum(values - values.max(axis=1, keepdims=True), -_FURTHEST))
    others = np.sort(own, axis=1)  # so that sums have one order, whatever that of the images
    if size > EXACT:
        others = others[:, (2 * np.arange(EXACT) + 1) * size // (2 * EXACT)]
    total, share = np.zeros_like(own), np.empty_like(own)
    for other in others.T:  # one after the other: the same sum on every machine
        np.add(own, other[:, None], out=share)
        np.divide(own, share, out=share)
        total += share
    mean = total / others.shape[1]
    rates: Float = np.clip((mean * size - 0.5) / (size - 1), 0.0, 1.0)  # without the image itself, which has σ(0)
    return rates


def _fronts_by_some(scores: npt.NDArray[np.floating]) -> npt.NDArray[np.int32]:
    size, most = len(scores), pareto.MOST
    chosen = (2 * np.arange(most) + 1) * size // (2 * most)
    references = scores[chosen]
    theirs = pareto.fronts(references, np.zeros(most, np.int64))
    step = max(1, 32 * _AT_ONCE // most)
    found = np.empty(size, np.int32)
    for first in range(0, size, step):
        block = scores[first : first + step]
        never_lower = np.ones((len(block), most), bool)
        higher = np.zeros((len(block), most), bool)
        for mine, other in zip(block.T, references.T, strict=True):
            never_lower &= other[None, :] >= mine[:, None]
            higher |= other[None, :] > mine[:, None]
        found[first : first + step] = 1 + np.where(never_lower & higher, theirs[None, :], 0).max(axis=1)
    return found


def _runs(groups: Int) -> tuple[Int, Int]:
    """Where each run of equal numbers begins, and how long it is."""
    if not len(groups):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    begins = np.flatnonzero(np.concatenate([[True], groups[1:] != groups[:-1]]))
    return begins, np.diff(np.concatenate([begins, [len(groups)]]))


def _blocks(begins: Int, size: int) -> Iterator[Int]:
    """Positions of the members of groups of one size, shape (groups, size); not too many at once."""
    step = max(1, _AT_ONCE // size)
    for first in range(0, len(begins), step):
        yield begins[first : first + step, None] + np.arange(size)


def _exponential(x: Float) -> Float:
    """e^x to a few units in the last place, the same on every machine: see `ranking.metrics.elementary`."""
    k = np.rint(x / (LN2_HIGH + LN2_LOW))
    r = (x - k * LN2_HIGH) - k * LN2_LOW
    power = np.full_like(r, TAYLOR[-1])
    for coefficient in TAYLOR[-2::-1]:
        power = coefficient + r * power
    result: Float = np.ldexp(power, k.astype(np.int64))
    return result
