"""What every loss returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Outcome:
    """`loss` is a scalar to minimise, the mean of `losses` (B,). `logit` (B,), detached, is positive where the policy
    has learnt the pair's order; None for a loss that compares nothing."""

    loss: Tensor
    losses: Tensor
    logit: Tensor | None = None

    @property
    def implicit_accuracy(self) -> float:
        """The share of positive logits, an exact zero counting one half (as at step 0); NaN without logits."""
        if self.logit is None:
            return float("nan")
        return float(((self.logit > 0).float() + 0.5 * (self.logit == 0).float()).mean())

    @property
    def gradient_factor(self) -> float:
        """The mean of σ(−logit), by which Diffusion-DPO scales a pair's gradient: ½ at the reference, near 0 where
        there is nothing left to learn; NaN without logits."""
        if self.logit is None:
            return float("nan")
        return float(torch.sigmoid(-self.logit).mean())

    def parts(self, sizes: Sequence[int]) -> list[Outcome]:
        """The same for each of several passes of so many pairs, of which this is the outcome together; detached."""
        losses = self.losses.split(list(sizes))
        logits = self.logit.split(list(sizes)) if self.logit is not None else [None] * len(losses)
        return [Outcome(each.mean(), each, logit) for each, logit in zip(losses, logits, strict=True)]
