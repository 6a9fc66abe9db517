"""What is drawn at random for a visit to a pair. It follows from the seed, the pair and the number of the visit, and
from nothing else: so it is the same whatever the batch, the number of processes, the device or the step a run went on
from, and a cached reference error belongs to a draw that can be made again."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor

from training.blocks import DataConfig
from training.data.framing import CENTRE, Framing

VERSION = 1
"""To be raised when a visit's chance is drawn otherwise than before: what was computed for other draws is of no use."""


@dataclass(frozen=True)
class Draw:
    """One visit's chance: `time` uniform in [0, 1), whether the prompt is `dropped` and the pictures `flipped`, at
    which share of what hangs over they are cut (`crop`), and the generator that the noise comes from. Winner and loser
    share all of it."""

    time: float
    dropped: bool
    flipped: bool
    crop: tuple[float, float]
    generator: torch.Generator

    def framing(self, size: tuple[int, int]) -> Framing:
        """How both pictures are framed for a pass of this size."""
        return Framing(size, self.crop, self.flipped)

    def noise(self, shape: tuple[int, ...]) -> Tensor:
        """Standard normal float32 of a latent's shape (C, h, w), on the CPU; winner and loser share it. To be taken
        once."""
        return torch.randn(shape, generator=self.generator)


def draw(seed: int, pair_id: str, number: int, data: DataConfig) -> Draw:
    """The draw of a pair's visit `number`, which with K fixed draws is the visit modulo K."""
    name = hashlib.sha256(f"{seed}:{pair_id}:{number}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(name[:8], "big") >> 1)
    # All are drawn always, so that switching one thing on leaves the others, and the noise, as they were.
    time, dropped, flipped, top, left = torch.rand(5, generator=generator, dtype=torch.float64).tolist()
    crop = (top, left) if data.crop == "random" else CENTRE
    return Draw(time, dropped < data.prompt_dropout, data.flip and flipped < 0.5, crop, generator)
