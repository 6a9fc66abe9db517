"""Which pairs a step sees: a function of the seed and the step alone, so that a run can go on anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

_EPOCH = 0x9E3779B9


@dataclass(frozen=True)
class Visit:
    """One look at a pair: its place among the run's pairs, and how often it was looked at before."""

    pair: int
    number: int


class Order:
    """Every epoch a new order of `count` pairs, fixed by the seed, no pair left out and none twice. A step's `size`
    pairs may span two epochs, so there are exactly as many even when there are fewer pairs.

    A step's visits depend neither on `buckets`, the pairs' shapes int (N,), nor on how many forward passes or processes
    share them: `passes` only deals them out. With `prompts`, the pairs' prompts int (N,), those of one prompt lie far
    apart in an epoch, for methods that compare the pairs of a step with each other.
    """

    def __init__(
        self,
        count: int,
        *,
        size: int,
        seed: int,
        buckets: NDArray[np.integer] | None = None,
        prompts: NDArray[np.integer] | None = None,
    ) -> None:
        self.count, self.size, self.seed = count, size, seed
        self._buckets, self._prompts = buckets, prompts
        self._permutation = lru_cache(maxsize=2)(self._shuffled)

    def at(self, step: int) -> list[Visit]:
        """The visits of an optimiser step, over all its forward passes and processes."""
        visits: list[Visit] = []
        place, end = step * self.size, (step + 1) * self.size
        while place < end:
            epoch, start = divmod(place, self.count)
            taken = self._permutation(epoch)[start : start + end - place]
            visits += [Visit(pair, epoch) for pair in taken.tolist()]
            place += len(taken)
        return visits

    def passes(self, step: int, batch: int, *, processes: int = 1) -> list[list[list[Visit]]]:
        """For each process its forward passes of this step: each of one shape and at most `batch` visits, as many for
        one process as for another. Passes are full but for the last of each shape, and those halved to make the
        numbers equal. ValueError where `size` is no multiple of the number of processes."""
        if self.size % processes:
            raise ValueError(f"{self.size} pairs cannot be dealt out to {processes} processes")
        passes = [
            visits[start : start + batch]
            for visits in self._by_bucket(self.at(step))
            for start in range(0, len(visits), batch)
        ]
        while len(passes) % processes:
            # There is one to halve: were all of one visit, there would be `size` of them.
            largest = max(range(len(passes)), key=lambda i: len(passes[i]))
            whole = passes[largest]
            passes[largest : largest + 1] = [whole[: len(whole) // 2], whole[len(whole) // 2 :]]
        return [passes[rank::processes] for rank in range(processes)]

    def _by_bucket(self, visits: Sequence[Visit]) -> list[list[Visit]]:
        if self._buckets is None:
            return [list(visits)]
        groups: dict[int, list[Visit]] = {}
        for visit in visits:
            groups.setdefault(int(self._buckets[visit.pair]), []).append(visit)
        return list(groups.values())

    def _shuffled(self, epoch: int) -> NDArray[np.int64]:
        chance = np.random.Generator(np.random.Philox(key=[self.seed, _EPOCH + epoch]))
        order = chance.permutation(self.count)
        return order if self._prompts is None else _spread(order, self._prompts[order], chance)


def _spread(order: NDArray[np.int64], prompts: NDArray[np.integer], chance: np.random.Generator) -> NDArray[np.int64]:
    """The r-th of a prompt's n pairs at (r + u) / n of the epoch, u by chance and the prompt's own: where all prompts
    have equally many, as many neighbours as there are prompts are all of different ones."""
    _, which, counts = np.unique(prompts, return_inverse=True, return_counts=True)
    grouped = np.argsort(which, kind="stable")
    starts = np.cumsum(counts) - counts
    rank = np.empty(len(order), np.int64)
    rank[grouped] = np.arange(len(order)) - starts[which[grouped]]
    at = (rank + chance.random(len(counts))[which]) / counts[which]
    return order[np.argsort(at, kind="stable")]
