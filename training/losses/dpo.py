"""Diffusion-DPO."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from training.losses.outcome import Outcome


def diffusion_dpo(
    policy: Tensor,
    reference: Tensor,
    *,
    beta: float,
    preference: Tensor | None = None,
    weight: Tensor | None = None,
) -> Outcome:
    """Diffusion-DPO: mean of −log σ(z), z = −β/2 · [(p_w − p_l) − (r_w − r_l)].

    With `preference` q (B,), the probability that the winner is the better image, each pair's loss is
    −q·log σ(z) − (1 − q)·log σ(−z), conservative DPO (Mitchell 2023, "A note on DPO with noisy preferences", eq. 3);
    with `weight` (B,) it is multiplied by that before the mean.

    Source: Wallace et al. 2023 (arXiv 2311.12908), eq. 14, with errors as means over elements and the factor ½ of
    the authors' code. `policy` and `reference` are float32 errors (2B,), the B winners first, then their losers,
    taken at one timestep and one noise per pair. At the reference itself the loss is ln 2.
    Raises ValueError for shapes that are not pairs, or not float32.
    """
    if policy.shape != reference.shape or policy.ndim != 1 or len(policy) % 2:
        raise ValueError(
            f"errors of winners and losers must be two equal vectors of even length, "
            f"not {tuple(policy.shape)} and {tuple(reference.shape)}"
        )
    if policy.dtype != torch.float32 or reference.dtype != torch.float32:
        raise ValueError(f"errors must be float32, not {policy.dtype} and {reference.dtype}")
    policy_winner, policy_loser = policy.chunk(2)
    reference_winner, reference_loser = reference.chunk(2)
    logit = -0.5 * beta * ((policy_winner - policy_loser) - (reference_winner - reference_loser))
    losses = -logsigmoid(logit)
    if preference is not None:
        losses = preference * losses - (1 - preference) * logsigmoid(-logit)
    if weight is not None:
        losses = weight * losses
    return Outcome(loss=losses.mean(), losses=losses.detach(), logit=logit.detach())
