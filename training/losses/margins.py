"""IPO and the hinge: losses on Diffusion-DPO's logit that want a margin of it, not as much as can be had."""

from __future__ import annotations

from torch import Tensor

from training.losses.outcome import Outcome
from training.losses.pairs import averaged, preference_logit, soft_labelled


def ipo(
    policy: Tensor,
    reference: Tensor,
    *,
    beta: float,
    preference: Tensor | None = None,
    weight: Tensor | None = None,
) -> Outcome:
    """Mean of (z − ½)², z Diffusion-DPO's logit.

    Azar et al. 2023 (arXiv 2310.12036), eq. 17, (h − 1/(2β))² with h = z/β, times β²: the same minimum and the same
    gradient's direction, on a scale that does not vanish at β = 2000 (where 1/(2β) squared is 6·10⁻⁸). With
    `preference` q (B,), q(z − ½)² + (1 − q)(z + ½)², whose minimum is at z = q − ½: the margin that its reward of q − ½
    asks for. ¼ at the reference.
    """
    logit = preference_logit(policy, reference, beta=beta)
    return averaged(soft_labelled(lambda z: (z - 0.5).square(), logit, preference), logit, weight)


def hinge(
    policy: Tensor,
    reference: Tensor,
    *,
    beta: float,
    preference: Tensor | None = None,
    weight: Tensor | None = None,
) -> Outcome:
    """Mean of max(0, 1 − z), z Diffusion-DPO's logit: pairs beyond the margin get no gradient.

    The calibration loss of SLiC (Zhao et al. 2023, arXiv 2305.10425) on DPO's logit, as in diffusers' script. With
    `preference` q (B,), q·max(0, 1 − z) + (1 − q)·max(0, 1 + z). 1 at the reference.
    """
    logit = preference_logit(policy, reference, beta=beta)
    return averaged(soft_labelled(lambda z: (1 - z).clamp(min=0), logit, preference), logit, weight)
