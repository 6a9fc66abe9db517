"""Diffusion-SDPO's winner-preserving safeguard."""

from __future__ import annotations

import torch
from torch import Tensor


def loser_scale(prediction: Tensor, target: Tensor, slopes: Tensor, *, mu: float) -> Tensor:
    """What each sample's slope d loss / d error is multiplied by, float32 (2B,): 1, but for the sample of a pair whose
    error the loss raises, λ ≤ 1, so that it does not raise the other's by the way.

    With d = prediction − target of the sample that is to be learnt (slope a > 0) and e that of the one that is to be
    unlearnt (slope −b < 0), a step of gradient descent on outputs that move together changes the error of the first by
    −(a‖d‖² − λ·b·⟨d, e⟩) up to a factor. That is at most −μ·a‖d‖² where

        λ = min(1, (1 − μ)·a‖d‖² / (b·⟨d, e⟩)) if ⟨d, e⟩ > 0, else 1.

    With μ = 0 the winner's error does not grow to first order; with μ = 1 a loser that pulls against it is left out.

    Fu et al. 2025 (arXiv 2511.03317), from the authors' code, with two differences. Theirs is one λ for a whole forward
    pass, ours one for each pair. And a/b is 1 there, as in Diffusion-DPO; with the loss's own slopes others keep the
    promise too, and where a soft label turns a pair round, the roles turn with it.
    """
    away = (prediction.detach().float() - target.float()).flatten(1)
    winner, loser = away.chunk(2)
    slope_winner, slope_loser = slopes.chunk(2)
    along = (winner * loser).sum(1)

    def scale(learnt: Tensor, slope_learnt: Tensor, slope_unlearnt: Tensor) -> Tensor:
        pull = -slope_unlearnt * along
        push = (1 - mu) * slope_learnt * learnt.square().sum(1)
        opposed = (slope_learnt > 0) & (slope_unlearnt < 0) & (pull > push)
        return torch.where(opposed, push / torch.where(opposed, pull, 1.0), 1.0)

    return torch.cat([scale(loser, slope_loser, slope_winner), scale(winner, slope_winner, slope_loser)])
