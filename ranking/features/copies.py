"""Images that look the same: groups of perceptual hashes that differ in a few bits. Knows numbers only."""

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

MAX_DISTANCE = 3
"""Bits of 64 in which the perceptual hashes of near-duplicates may differ."""

_NEIGHBOURS = 8
_BAND = 16


def near_copies(hashes: npt.NDArray[np.uint64], known: npt.NDArray[np.bool_]) -> npt.NDArray[np.int32]:
    """For each of n images (uint64 hashes and whether they are known, shape (n,)) its group of near-duplicates, named
    by its first member: int32 of shape (n,). An image whose hash is not known is alone.

    Equal hashes always meet. Two that differ in at most three bits agree in one of four 16-bit bands; sorted with
    that band first, each is compared with its next eight, so of very many alike some links may be missing, which
    rarely splits a group, as groups are connected.
    """
    group = np.arange(len(hashes), dtype=np.int32)
    which = np.flatnonzero(known)
    if not len(which):
        return group
    distinct, of = np.unique(hashes[which], return_inverse=True)
    left, right = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for band in range(64 // _BAND):
        shift = np.uint64(band * _BAND)
        turned = (distinct << shift) | (distinct >> ((np.uint64(64) - shift) % np.uint64(64)))
        order = np.argsort(turned)
        for step in range(1, min(_NEIGHBOURS, len(order) - 1) + 1):
            first, second = order[:-step], order[step:]
            near = np.bitwise_count(distinct[first] ^ distinct[second]) <= MAX_DISTANCE
            left.append(first[near])
            right.append(second[near])
    ends = np.concatenate(left), np.concatenate(right)
    links = csr_array((np.ones(len(ends[0])), ends), shape=(len(distinct), len(distinct)))
    _, component = connected_components(links, directed=False)
    mine = component[of]
    first_member = np.full(component.max() + 1, len(hashes), np.int64)
    np.minimum.at(first_member, mine, which)
    group[which] = first_member[mine]
    return group
