"""The preference losses, as functions of per-sample denoising errors; no model and no data in here."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid


@dataclass(frozen=True)
class PreferenceLoss:
    """`loss` is a scalar to minimise; `logit` (B,) is positive where the policy has learnt the pair's order.

    `implicit_accuracy` is the share of positive logits, an exact zero counting one half (as at step 0).
    """

    loss: Tensor
    logit: Tensor
    implicit_accuracy: float


def denoising_error(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean squared error over channels and pixels, float32 of shape (N,), whatever the inputs' dtype.

    In half precision the difference of two such means, times β, would be noise.
    """
    return (prediction.float() - target.float()).square().flatten(1).mean(1)


def diffusion_dpo(
    policy: Tensor,
    reference: Tensor,
    *,
    beta: float,
    preference: Tensor | None = None,
    weight: Tensor | None = None,
) -> PreferenceLoss:
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
    right = (logit > 0).float() + 0.5 * (logit == 0).float()
    losses = -logsigmoid(logit)
    if preference is not None:
        losses = preference * losses - (1 - preference) * logsigmoid(-logit)
    if weight is not None:
        losses = weight * losses
    return PreferenceLoss(loss=losses.mean(), logit=logit.detach(), implicit_accuracy=float(right.mean()))
