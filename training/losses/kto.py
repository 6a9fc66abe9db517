"""Diffusion-KTO: each image on its own, liked or disliked."""

from __future__ import annotations

import torch
from torch import Tensor

from training.losses.outcome import Outcome
from training.losses.pairs import averaged, checked


def diffusion_kto(
    policy: Tensor,
    reference: Tensor,
    *,
    beta: float,
    desirable: float = 1.0,
    undesirable: float = 1.0,
    preference: Tensor | None = None,
    weight: Tensor | None = None,
) -> Outcome:
    """Mean over images of w_y · (1 − σ(y·β·(g − K))), g = r − p, y = +1 for winners and −1 for losers.

    Li et al. 2024 (arXiv 2404.04465), as in the authors' code. K = max(0, mean of g), detached, is the reference point:
    an estimate of the KL divergence, and so to be taken over all images of an optimiser step and its processes. Pairs
    count in it by their `weight`, so that one of weight 0 has no part in the step.
    `policy` and `reference` are float32 errors (2N,), winners first, then losers. ½ at the reference, where the
    gradient in an error is ±β/4 over 2N. An image that is far off, on either side, gets none.

    With `preference` q (N,), the expectation over y for both images of a pair; `weight` (N,) multiplies both. The
    logit is β(g_w − g_l), twice Diffusion-DPO's at the same β; `losses` (N,) are means over a pair's two images.
    """
    checked(policy, reference)
    gain = reference - policy
    point = _mean_gain(gain.detach(), weight).clamp(min=0)
    winner, loser = (beta * (gain - point)).chunk(2)

    def liked(utility: Tensor) -> Tensor:
        return desirable * torch.sigmoid(-utility)

    def disliked(utility: Tensor) -> Tensor:
        return undesirable * torch.sigmoid(utility)

    losses = (liked(winner) + disliked(loser)) / 2
    if preference is not None:
        losses = preference * losses + (1 - preference) * (disliked(winner) + liked(loser)) / 2
    return averaged(losses, winner - loser, weight)


def _mean_gain(gain: Tensor, weight: Tensor | None) -> Tensor:
    """The mean over images, each counted by its pair's weight; 0 where all weigh nothing."""
    if weight is None:
        return gain.mean()
    return (weight.repeat(2) * gain).sum() / (2 * weight.sum()).clamp(min=torch.finfo(gain.dtype).tiny)
