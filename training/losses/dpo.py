"""Diffusion-DPO, with its variants that change only how a pair's logit is scored."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from training.losses.outcome import Outcome
from training.losses.pairs import averaged, preference_logit, smoothed, soft_labelled


def diffusion_dpo(
    policy: Tensor,
    reference: Tensor,
    *,
    beta: float,
    preference: Tensor | None = None,
    weight: Tensor | None = None,
    label_smoothing: float = 0.0,
    poly: float = 0.0,
    smpo: float | None = None,
) -> Outcome:
    """Diffusion-DPO: mean of −log σ(z), z = −β/2 · [(p_w − r_w) − (p_l − r_l)].

    Wallace et al. 2023 (arXiv 2311.12908), eq. 14; `preference_logit` says what z is. On errors of a flow-matching
    model this is Flow-DPO. `policy` and `reference` are float32 errors (2B,), the B winners first, then their losers,
    taken at one timestep and one noise per pair. At the reference itself the loss is ln 2.

    - `preference` q (B,), the probability that the winner is the better image: −q·log σ(z) − (1 − q)·log σ(−z),
      conservative DPO (Mitchell 2023, "A note on DPO with noisy preferences", eq. 3). `label_smoothing` ε is a rate of
      flipped labels on top: q becomes q(1 − ε) + (1 − q)ε.
    - `poly` α: −log σ(z) becomes −log σ(z) + α·(1 − σ(z)), Poly-DPO (Li et al. 2026, "ViPO", arXiv 2604.24953; formula
      from the authors' project page). The gradient in z is multiplied by 1 + α·σ(z).
    - `smpo` κ: the loss is −log σ(κ(2q − 1)·z), the labels of SmPO (Lu et al. 2025, arXiv 2506.02698) without its
      inversion. From the authors' code, which has κ = 10 and takes q from the softmax of two scores in [0, 1]. The
      preference enters there alone.
    - `weight` (B,) multiplies a pair's loss before the mean.

    The outcome's logit is z, not scaled by κ. Raises ValueError for shapes that are not pairs, or half precision.
    """
    logit = preference_logit(policy, reference, beta=beta)

    def loss(z: Tensor) -> Tensor:
        straight = -logsigmoid(z)
        return straight + poly * torch.sigmoid(-z) if poly else straight

    if label_smoothing:
        preference = smoothed(preference, label_smoothing, logit)
    if smpo is None:
        return averaged(soft_labelled(loss, logit, preference), logit, weight)
    decided = 1.0 if preference is None else 2 * preference - 1
    return averaged(loss(smpo * decided * logit), logit, weight)
