"""What a batch is put together from, whether it is computed at once, held in memory or kept on disk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from training.data.framing import Framing
from training.models.base import Conditioning


class Latents(Protocol):
    """The latents of pictures."""

    def __call__(self, uids: Sequence[str], framings: Sequence[Framing]) -> tuple[Tensor, Tensor]:
        """Latents float32 (N, C, h, w) and geometry int64 (N, 6), as `framing.told` has it, of N pictures, each framed
        as its framing says; all are of one size. A picture and a framing may come twice."""


class Prompts(Protocol):
    """The text states of prompts."""

    def __call__(self, prompts: Sequence[str]) -> Conditioning:
        """Of N prompts, on any device."""


class References(Protocol):
    """Errors of the reference for draws that are made again (`cache.reference_draws`)."""

    def __call__(self, pair_ids: Sequence[str], numbers: Sequence[int]) -> Tensor:
        """Float32 (2B,): the errors for the winners of B visits, then for their losers. `numbers` are the draws'."""


class Features(Protocol):
    """What methods that compare pairs know of an image and its prompt."""

    def __call__(self, prompts: Sequence[str], uids: Sequence[str]) -> Tensor:
        """Unit vectors float32 (N, 2, D) of N images, [:, 0], each with its original caption, [:, 1]."""
