"""Supervised fine-tuning."""

from __future__ import annotations

from torch import Tensor

from training.losses.outcome import Outcome
from training.losses.pairs import averaged


def sft(policy: Tensor, *, weight: Tensor | None = None) -> Outcome:
    """The mean denoising error of the winners, each times `weight` (B,) if given: the usual objective of a diffusion
    model on the preferred images alone (Ho et al. 2020, arXiv 2006.11239, eq. 14). `policy` is float32 errors (B,), of
    the winners only: losers need not be run."""
    return averaged(policy, None, weight)
