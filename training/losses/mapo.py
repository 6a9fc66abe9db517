"""MaPO: preference without a reference."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from training.losses.outcome import Outcome
from training.losses.pairs import averaged, checked, soft_labelled


def mapo(
    policy: Tensor,
    *,
    beta: float = 0.1,
    snr: float = 0.5,
    timesteps: float = 1000.0,
    preference: Tensor | None = None,
    weight: Tensor | None = None,
) -> Outcome:
    """Mean of p_w − β·log σ(z), z = T·(φ(p_w) − φ(p_l)), φ(x) = s·x / (exp(s·x) − 1).

    Hong et al. 2024 (arXiv 2406.06424), as in the authors' code. `policy` is float32 errors (2B,), winners first, at
    one timestep and one noise per pair; s is `snr`, T `timesteps`. φ falls from 1 at x = 0 with slope −s/2, so z is
    about −T·s/2 · (p_w − p_l): what Diffusion-DPO has at β = T·s, without the reference's errors. So it is not 0 at the
    start, and implicit accuracy begins at how often the model already has the smaller error on the winner.

    With `preference` q (B,), the expectation over which image is the better one, in both terms.
    """
    checked(policy)
    winner, loser = policy.chunk(2)
    logit = timesteps * (_score(winner, snr) - _score(loser, snr))
    margin = soft_labelled(lambda z: -logsigmoid(z), logit, preference)
    likelihood = winner if preference is None else preference * winner + (1 - preference) * loser
    return averaged(likelihood + beta * margin, logit, weight)


def _score(error: Tensor, snr: float) -> Tensor:
    """φ, with its limit 1 where the error is 0. As x·e^(−x) / (1 − e^(−x)), since e^x overflows from x = 89 on, and
    with it the gradient."""
    scaled = snr * error
    tiny = scaled.abs() < 1e-6
    return torch.where(
        tiny, 1 - scaled / 2, -scaled * torch.exp(-scaled) / torch.expm1(-torch.where(tiny, 1.0, scaled))
    )
