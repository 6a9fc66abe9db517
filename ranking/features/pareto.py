"""Which images of a group no other beats in everything: Pareto fronts by non-dominated sorting. Knows arrays only."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

MOST = 4096
"""Images of a group beyond which they are not compared: that takes size² bytes several times over."""

_COMPARED_AT_ONCE = 4_000_000
_LARGE = 256

Int = npt.NDArray[np.int64]


def fronts(scores: npt.NDArray[np.floating], groups: Int) -> npt.NDArray[np.int32]:
    """The Pareto front of each of n images among those of its group: int32 of shape (n,), 1 for those that none
    dominates, 2 for those that only images of front 1 dominate, and so on (Goldberg 1989); 0 for an image that lacks a
    score, or whose group has more than MOST images, and so is not compared.

    `scores` has shape (n, k), higher is better, NaN where there is none; `groups` (n,) says which images belong
    together. One image dominates another if no score of it is lower and one is higher; equal images share a front.
    Takes about Σ size² · k comparisons over the groups.
    """
    found = np.zeros(len(groups), np.int32)
    if not scores.shape[1]:
        return found
    whole = np.flatnonzero(~np.isnan(scores).any(axis=1))
    order = whole[np.argsort(groups[whole], kind="stable")]
    for block in _blocks(groups[order]):
        members = order[block]
        found[members] = _peeled(scores[members])
    return found


def _blocks(groups: Int) -> Iterator[Int]:
    """Positions of the members of groups of one size, shape (groups, size), for sorted `groups`; not too many at
    once."""
    begins = (
        np.flatnonzero(np.concatenate([[True], groups[1:] != groups[:-1]])) if len(groups) else np.zeros(0, np.int64)
    )
    sizes = np.diff(np.concatenate([begins, [len(groups)]]))
    for size in np.unique(sizes[sizes <= MOST]):
        starts = begins[sizes == size]
        step = 1 if size >= _LARGE else max(1, _COMPARED_AT_ONCE // int(size) ** 2)
        for first in range(0, len(starts), step):
            yield starts[first : first + step, None] + np.arange(size)


def _peeled(scores: npt.NDArray[np.floating]) -> npt.NDArray[np.int32]:
    """Fronts of groups of one size: scores of shape (groups, size, k) to int32 of shape (groups, size)."""
    groups, size, _ = scores.shape
    found = np.ones((groups, size), np.int32)
    if size == 1:
        return found
    never_lower = np.ones((groups, size, size), bool)  # [group, i, j]: no score of i is lower than that of j
    for each in np.moveaxis(scores, 2, 0):
        never_lower &= each[:, :, None] >= each[:, None, :]
    dominates = never_lower & ~never_lower.swapaxes(1, 2)
    if groups == 1:
        found[0] = _peeled_one(dominates[0])
        return found
    left: npt.NDArray[np.bool_] = np.any(dominates, axis=1)  # dominated by somebody not yet on a front
    while left.any():
        found += left
        left = np.any(dominates & left[:, :, None], axis=1)
    return found


def _peeled_one(dominates: npt.NDArray[np.bool_]) -> npt.NDArray[np.int32]:
    """The same for one group, shape (size, size): each image is taken off once, however many fronts there are."""
    found = np.zeros(len(dominates), np.int32)
    above = dominates.sum(axis=0, dtype=np.int32)  # how many not yet on a front dominate it
    front = 0
    while (left := found == 0).any():
        front += 1
        now = left & (above == 0)
        found[now] = front
        above -= dominates[now].sum(axis=0, dtype=np.int32)
    return found
