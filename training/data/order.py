"""Which pairs a step sees: a function of the seed and the step alone, so that a run can go on anywhere."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch


@dataclass(frozen=True)
class Visit:
    """One look at a pair: its place among the run's pairs, and how often it was looked at before."""

    pair: int
    number: int


class Order:
    """Every epoch a new order, fixed by the seed, no pair left out. A step's `size` pairs may span two epochs, so there
    are exactly as many even when there are fewer pairs."""

    def __init__(self, count: int, *, size: int, seed: int) -> None:
        self.count, self.size, self.seed = count, size, seed
        self._permutation = lru_cache(maxsize=2)(self._shuffled)

    def at(self, step: int) -> list[Visit]:
        """The visits of an optimiser step, over all its forward passes and processes."""
        places = range(step * self.size, (step + 1) * self.size)
        return [
            Visit(self._permutation(place // self.count)[place % self.count], place // self.count) for place in places
        ]

    def _shuffled(self, epoch: int) -> list[int]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
        order: list[int] = torch.randperm(self.count, generator=generator).tolist()
        return order
