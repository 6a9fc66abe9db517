"""Facility location: which of many pairs to take so that they are good and lie close to all the others. A greedy
choice with a guarantee; knows neither stores nor recipes."""

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

import numpy as np
import numpy.typing as npt

from ranking.subsets.vectors import SIDE, Grid, nearest

DENSE: Final = 4096
"""Up to so many distinct embeddings every similarity counts."""
BLOCK: Final = 8192
"""Beyond that, embeddings are divided into blocks of at most so many that lie together."""
NEAREST: Final = 32
"""And an embedding can be represented by so many of its block: itself and those most like it."""

FULL: Final = float(SIDE * SIDE)
"""The similarity of an embedding to itself, in whole numbers."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Similar:
    """Similarities that are not zero, by who represents: embedding u represents `whom[start[u]:start[u + 1]]` as far as
    `how_much` (whole numbers, 0 < s ≤ FULL). `left_out` bounds, for each embedding, the similarities to it that were
    left out; None where they are not known, 0 where there are none."""

    start: npt.NDArray[np.int64]
    whom: npt.NDArray[np.int32]
    how_much: npt.NDArray[np.float32]
    left_out: npt.NDArray[np.float32] | None


@dataclass(frozen=True)
class Located:
    """What was chosen: `order`, positions of the candidates in the order of choosing; `gains`, for every candidate, the
    share of coverage that it added when it was chosen, or would add now; and the shares of the whole: `quality`,
    `coverage` and `objective`, each at most 1, so that the choice has at least `objective` times the best objective
    there is. `left_out` bounds what similarities that were left out could add to anyone's coverage; None if that is not
    known."""

    order: npt.NDArray[np.int64]
    gains: npt.NDArray[np.float64]
    quality: float
    coverage: float
    objective: float
    left_out: float | None


def similarities(grid: Grid, *, seed: int = 0) -> Similar:
    """s(a, b) = max(0, cos(a, b)) between the rows of a grid, from products of whole numbers.

    All of them up to DENSE rows. Of more, each row's NEAREST within its block, itself among them. There is
    one block up to BLOCK rows; more are halved, by whether they lie nearer to the one or the other of two rows that
    `seed` names, until they fit.
    """
    n = len(grid)
    count = n if n <= DENSE else NEAREST
    represented, by, like = [], [], []
    left_out = np.zeros(n, np.float32)
    blocks = _blocks(grid, seed=seed)
    for block in blocks:
        rows = grid[block]
        for first, columns, values in nearest(rows, count):
            mine = np.arange(first, first + len(columns))
            values = np.where(columns == mine[:, None], np.float32(FULL), np.minimum(values, np.float32(FULL)))
            if n > DENSE:
                left_out[block[mine]] = np.maximum(values.min(axis=1), 0)
            good = values > 0
            represented.append(np.broadcast_to(block[mine][:, None], columns.shape)[good])
            by.append(block[columns][good])
            like.append(values[good])
    who, whom, how_much = (np.concatenate(parts) if parts else np.zeros(0) for parts in (by, represented, like))
    order = np.argsort(who.astype(np.int32), kind="stable")
    start = np.concatenate([[0], np.cumsum(np.bincount(who.astype(np.int64), minlength=n))])
    bound = left_out if len(blocks) <= 1 else None
    return Similar(start, whom[order].astype(np.int32), how_much[order].astype(np.float32), bound)


def locate(
    similar: Similar, embedding: npt.NDArray[np.int64], *, take: int, weight: float, progress: Progress | None = None
) -> Located:
    """Choose `take` of n candidates, best first, greedily by (1 − weight) · Q + weight · C.

    Candidate i, counted from 0, has the quality n − ½ − i, and `embedding[i]`, −1 for none. Q is the share that the
    chosen have of the quality of the best `take`; C is their share of coverage, mean over all candidates with an
    embedding of the largest similarity to a chosen one. The objective is monotone and submodular, so the greedy choice
    reaches at least 1 − 1/e of the best one (Nemhauser, Wolsey and Fisher 1978, section 4), over the similarities
    given. Lazy (Minoux 1978) but exact: each choice has the largest gain there is, the better candidate among equals.
    """
    n, take = len(embedding), min(take, len(embedding))
    known = embedding >= 0
    counts = np.bincount(embedding[known], minlength=len(similar.start) - 1).astype(np.float64)
    worth = n - 0.5 - np.arange(n)
    most = float(worth[:take].sum())
    covering = max(1.0, float(counts.sum()) * FULL)
    per_quality, per_coverage = (1 - weight) / (most or 1.0), weight / covering
    covered = np.zeros(len(counts))

    def coverage_gain(u: int) -> float:
        part = slice(similar.start[u], similar.start[u + 1])
        whom = similar.whom[part]
        more = similar.how_much[part] - covered[whom]
        return float(np.dot(np.maximum(more, 0.0), counts[whom]))  # whole numbers below 2^53: exact in any order

    # The candidates of one embedding, best first: only the first can add to the coverage.
    grouped = np.argsort(embedding, kind="stable")
    ends = np.concatenate([[0], np.cumsum(np.bincount(embedding + 1, minlength=len(counts) + 1))])
    added = np.zeros(n)
    first_gains = _all_gains(similar, covered, counts)
    heap: list[tuple[float, int, int, int]] = []  # (−gain at most, candidate, embedding or −1, choices it reckons with)
    for i in grouped[: ends[1]].tolist():
        heap.append((-(per_quality * worth[i]), i, -1, take))
    for u in np.flatnonzero(ends[2:] > ends[1:-1]).tolist():
        i = int(grouped[ends[u + 1]])
        heap.append((-(per_quality * worth[i] + per_coverage * first_gains[u]), i, u, 0))
    heapq.heapify(heap)
    order: list[int] = []
    while len(order) < take:
        _, i, u, reckoned = heap[0]
        if u >= 0 and reckoned < len(order):
            heapq.heapreplace(heap, (-(per_quality * worth[i] + per_coverage * coverage_gain(u)), i, u, len(order)))
            continue
        heapq.heappop(heap)
        order.append(i)
        if progress is not None and len(order) % 1000 == 0:
            progress(len(order), take)
        if u >= 0:
            added[i] = coverage_gain(u)
            part = slice(similar.start[u], similar.start[u + 1])
            whom = similar.whom[part]
            covered[whom] = np.maximum(covered[whom], similar.how_much[part])
            for other in grouped[ends[u + 1] + 1 : ends[u + 2]].tolist():
                heapq.heappush(heap, (-(per_quality * worth[other]), other, -1, take))
    chosen = np.array(order, np.int64)
    waiting = np.ones(n, bool)
    waiting[chosen] = False
    later = np.flatnonzero(waiting & known)
    added[later] = _all_gains(similar, covered, counts)[embedding[later]]
    quality = float(worth[chosen].sum()) / (most or 1.0)
    coverage = float(np.dot(covered, counts)) / covering
    bound = None if similar.left_out is None else float(np.dot(similar.left_out.astype(np.float64), counts)) / covering
    return Located(
        order=chosen,
        gains=added / covering,
        quality=quality,
        coverage=coverage,
        objective=(1 - weight) * quality + weight * coverage,
        left_out=bound,
    )


def _all_gains(
    similar: Similar, covered: npt.NDArray[np.float64], counts: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """What each embedding would add to the coverage."""
    gains = np.zeros(len(counts))
    for first in range(0, len(counts), 16_384):
        part = similar.start[first : first + 16_385]
        entries = slice(part[0], part[-1])
        whom = similar.whom[entries]
        more = np.maximum(similar.how_much[entries] - covered[whom], 0.0) * counts[whom]
        who = np.repeat(np.arange(len(part) - 1), np.diff(part))
        gains[first : first + len(part) - 1] = np.bincount(who, weights=more, minlength=len(part) - 1)
    return gains


def _blocks(grid: Grid, *, seed: int) -> list[npt.NDArray[np.int64]]:
    """The rows in blocks of at most BLOCK that lie together, each in its order."""
    done: list[npt.NDArray[np.int64]] = []
    waiting = [np.arange(len(grid))] if len(grid) else []
    while waiting:
        block = waiting.pop()
        if len(block) <= BLOCK:
            done.append(np.sort(block))
            continue
        # Sampled by a hash: numpy does not promise the same numbers from one version to the next.
        drawn = sha256(f"{seed}:{block[0]}:{len(block)}".encode()).digest()
        one, other = (int.from_bytes(drawn[part : part + 8], "big") % len(block) for part in (0, 8))
        side = grid[block] @ (grid[block[one]] - grid[block[other]])  # below 2 · 2080² < 2^24: exact
        ordered = block[np.argsort(side, kind="stable")]
        waiting += [ordered[: len(block) // 2], ordered[len(block) // 2 :]]
    return done
