"""What every loss returns."""

from __future__ import annotations

from dataclasses import dataclass

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
