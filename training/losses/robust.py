"""Robust DPO: the loss that clean labels would have given, on average, from labels that are flipped at a known rate."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import logsigmoid

from training.losses.outcome import Outcome
from training.losses.pairs import averaged, preference_logit, smoothed


def robust_dpo(
    policy: Tensor,
    reference: Tensor,
    *,
    beta: float,
    flip_rate: float = 0.0,
    bound: float = 5.0,
    preference: Tensor | None = None,
    weight: Tensor | None = None,
) -> Outcome:
    """Mean of [(1 − ε)·ℓ(z) − ε·ℓ(−z)] / (1 − 2ε), ℓ = −log σ and z Diffusion-DPO's logit.

    Chowdhury, Kini, Natarajan 2024 (arXiv 2403.00409), rDPO: its expectation over flips at rate ε is ℓ of the true
    label. A pair's ε is 1 − q of its `preference` q (B,), with `flip_rate` on top (q(1 − ε) + (1 − q)ε is the
    probability that its label is right). At the reference the loss is ln 2; it has no lower bound, since −ε·ℓ(−z) falls
    linearly in z: a pair goes on pulling, its slope never below ε / (1 − 2ε), where DPO's falls from ½ to 0.

    As ε → ½ a label says nothing and 1 / (1 − 2ε) grows without end, and with it the gradient's variance. So that
    factor, g(s) = 1/s with s = 1 − 2ε, is held to `bound`: it is s · bound² where |s| < 1 / bound. Continuous, exact
    outside that range, 0 at ε = ½, where a tie then teaches nothing; above ½ the loss is that of the pair turned round.
    The bound is ours, not the paper's; within it the loss is biased towards 0.
    """
    logit = preference_logit(policy, reference, beta=beta)
    right = smoothed(preference, flip_rate, logit)
    sureness = 2 * right - 1
    factor = sureness / sureness.square().clamp(min=bound**-2)
    losses = factor * (-right * logsigmoid(logit) + (1 - right) * logsigmoid(-logit))
    return averaged(losses, logit, weight)
