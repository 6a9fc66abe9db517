"""What is drawn at random for a visit to a pair. It follows from the seed, the pair and the number of the visit, and
from nothing else: so it is the same whatever the batch, the number of processes, the device or the step a run went on
from, and a cached reference error belongs to a draw that can be made again."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Draw:
    """One visit's chance: `time` uniform in [0, 1), whether the prompt is `dropped` and the pictures `flipped`, and the
    generator that the noise comes from."""

    time: float
    dropped: bool
    flipped: bool
    generator: torch.Generator

    def noise(self, shape: tuple[int, ...]) -> Tensor:
        """Standard normal float32 of a latent's shape (C, h, w), on the CPU; winner and loser share it. To be taken
        once."""
        return torch.randn(shape, generator=self.generator)


def draw(seed: int, pair_id: str, number: int, *, prompt_dropout: float, flip: bool) -> Draw:
    """The draw of a pair's visit `number` (with K fixed draws: the visit modulo K)."""
    name = hashlib.sha256(f"{seed}:{pair_id}:{number}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(name[:8], "big") >> 1)
    time, dropped, flipped = torch.rand(3, generator=generator, dtype=torch.float64).tolist()
    return Draw(time, dropped < prompt_dropout, flip and flipped < 0.5, generator)
