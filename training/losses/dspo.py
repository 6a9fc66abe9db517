"""DSPO: the winner's score is matched to one that is tilted by preference."""

from __future__ import annotations

import torch
from torch import Tensor

from training.losses.outcome import Outcome
from training.losses.pairs import averaged, preference_logit


def dspo(
    policy: Tensor,
    reference: Tensor,
    prediction: Tensor,
    reference_prediction: Tensor,
    target: Tensor,
    *,
    beta: float,
    logit_beta: float | None = None,
    preference: Tensor | None = None,
    weight: Tensor | None = None,
) -> Outcome:
    """Mean over pairs and elements of [(ε_θ − ε)_w − β·σ(−z)·(ε_θ − ε_ref)_w]², z Diffusion-DPO's logit at
    `logit_beta`.

    Zhu et al. 2025 ("DSPO", ICLR), the authors' branch for SD 1.5; that for SDXL is a rule of thumb of its own and not
    built. Errors are float32 (2B,), predictions and target (2B, C, h, w) of any floating dtype, winners first. The
    winner's error at the reference itself; its minimum, at a factor f = β·σ(−z) < 1, is ε_θ = (ε − f·ε_ref) / (1 − f),
    the target moved away from the reference's prediction by f / (1 − f) of their difference.

    Losers act through z alone. `logit_beta` is β unless given, as published; but at the published β of 0.001 to 0.05 z
    is so small that σ(−z) is ½ to three digits and more, and the loss one of winners only. In the gradient z is not
    constant, as in the authors' code. With `preference` q (B,), σ(−z) becomes q − σ(z), the slope of conservative DPO.
    """
    logit = preference_logit(policy, reference, beta=beta if logit_beta is None else logit_beta)
    tilt = torch.sigmoid(-logit) if preference is None else preference - torch.sigmoid(logit)
    count = len(logit)
    mine, theirs, wanted = (each[:count].float() for each in (prediction, reference_prediction, target))
    shape = (count,) + (1,) * (mine.ndim - 1)
    residual = (mine - wanted) - (beta * tilt).view(shape) * (mine - theirs)
    return averaged(residual.square().flatten(1).mean(1), logit, weight)
