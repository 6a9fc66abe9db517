"""What losses over pairs share: the logit of a pair, soft labels, and the mean."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from training.losses.outcome import Outcome


def checked(policy: Tensor, reference: Tensor | None = None) -> None:
    """Raise ValueError unless these are errors of pairs: vectors of one even length (2B,), float32 or wider.

    Half precision is refused because β multiplies a difference of such errors: bfloat16 ones of 0.5, at β = 5000,
    would put a noise of about 2 into every logit.
    """
    both = (policy, reference) if reference is not None else (policy,)
    if any(each.shape != policy.shape for each in both) or policy.ndim != 1 or len(policy) % 2:
        shapes = " and ".join(str(tuple(each.shape)) for each in both)
        raise ValueError(f"errors of winners and losers must be equal vectors of even length, not {shapes}")
    if any(each.dtype not in (torch.float32, torch.float64) for each in both):
        raise ValueError(f"errors must be float32, not {' and '.join(str(each.dtype) for each in both)}")


def preference_logit(policy: Tensor, reference: Tensor, *, beta: float) -> Tensor:
    """z (B,) = −β/2 · [(p_w − r_w) − (p_l − r_l)], positive where the policy has gained more on the winner than on the
    loser; its σ is the policy's own probability that the winner is the better image.

    Wallace et al. 2023 (arXiv 2311.12908), eq. 14, with errors as means over elements and the factor ½ of the authors'
    code. Errors float32 (2B,), winners first.
    """
    checked(policy, reference)
    winner, loser = (policy - reference).chunk(2)
    return -0.5 * beta * (winner - loser)


def soft_labelled(loss: Callable[[Tensor], Tensor], logit: Tensor, preference: Tensor | None) -> Tensor:
    """q · loss(z) + (1 − q) · loss(−z), (B,): the expected loss where the label is right with probability q."""
    straight = loss(logit)
    if preference is None:
        return straight
    return preference * straight + (1 - preference) * loss(-logit)


def smoothed(preference: Tensor | None, flip_rate: float, like: Tensor) -> Tensor:
    """The probability (B,) that labels are right which were right with probability q (1 if not given), and then flipped
    at a rate ε of their own: q(1 − ε) + (1 − q)ε."""
    right = torch.ones_like(like) if preference is None else preference
    return right * (1 - flip_rate) + (1 - right) * flip_rate


def averaged(losses: Tensor, logit: Tensor | None, weight: Tensor | None) -> Outcome:
    """The outcome of losses (B,), each times its weight (B,) if given."""
    if weight is not None:
        losses = weight * losses
    return Outcome(losses.mean(), losses.detach(), None if logit is None else logit.detach())
