"""From a method's options to what the loop minimises: which passes it needs, and the loss of what they gave."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from training.losses.dpo import diffusion_dpo
from training.losses.outcome import Outcome
from training.losses.safeguard import loser_scale
from training.losses.sft import sft
from training.methods.options import Dpo, Method, Sft


@dataclass(frozen=True)
class Passes:
    """What forward passes over B pairs gave.

    `policy` and `reference` are float32 errors (2B,), winners first and then their losers in the same order; (B,), of
    winners alone, for an objective without losers. `reference` is None where the method needs none. `preference` and
    `weight` are float32 (B,), as in PairBatch. The predictions (2B, C, h, w), of any floating dtype, are there where
    the objective asks for them. `features` (2B, 2, D), float32, are the unit vectors of each image, [:, 0], and of its
    prompt, [:, 1], where it asks for those.
    """

    policy: Tensor
    reference: Tensor | None
    preference: Tensor
    weight: Tensor
    prediction: Tensor | None = None
    target: Tensor | None = None
    reference_prediction: Tensor | None = None
    features: Tensor | None = None


@dataclass(frozen=True)
class Objective:
    """A method's loss and what it needs of a forward pass.

    `compare` is the loss as a function of what the passes gave. The loop calls `loss`, which is that with the
    `safeguard` (its μ, or None) in the gradient. It needs the `reference`'s errors (which may be cached), or nothing of
    it; `predictions` of the policy and their target; `reference_predictions` too, for which the reference must run
    itself; `features` of images and prompts. Without `losers` only winners are passed. A `whole_step` objective
    compares pairs with one another: it is the loss of all pairs of an optimiser step at once, over its forward passes
    and processes, and `training.methods.whole_step` says how to take its gradient.
    """

    compare: Callable[[Passes], Outcome]
    reference: bool = True
    predictions: bool = False
    reference_predictions: bool = False
    features: bool = False
    losers: bool = True
    whole_step: bool = False
    safeguard: float | None = None

    def loss(self, passes: Passes) -> Outcome:
        """The loss of one forward pass, to be backpropagated; for a `whole_step` objective, of all of the step in one
        pass."""
        if self.safeguard is None:
            return self.compare(passes)
        outcome, slopes = self.slopes(passes)
        carrier = self.carrier(passes, slopes)
        return replace(outcome, loss=outcome.loss + carrier - carrier.detach())

    def slopes(self, passes: Passes) -> tuple[Outcome, Tensor]:
        """The outcome, without a graph, and d loss / d error, float32 in the shape of `policy`. The loss depends on the
        network through these errors alone, so they are all that a backward pass needs."""
        errors = passes.policy.detach().requires_grad_()
        with torch.enable_grad():
            outcome = self.compare(replace(passes, policy=errors))
            (slopes,) = torch.autograd.grad(outcome.loss, errors)
        return replace(outcome, loss=outcome.loss.detach()), slopes

    def carrier(self, passes: Passes, slopes: Tensor) -> Tensor:
        """Σ errors · slopes: a scalar of no meaning whose gradient in the network's weights is the loss's, with the
        safeguard's scale on what it holds back."""
        if self.safeguard is not None:
            assert passes.prediction is not None and passes.target is not None  # `predictions` asks for them
            slopes = slopes * loser_scale(passes.prediction, passes.target, slopes, mu=self.safeguard)
        return (passes.policy * slopes).sum()


def make_objective(method: Method) -> Objective:
    """The objective of a method's options."""
    if isinstance(method, Dpo):
        return Objective(
            lambda passes: diffusion_dpo(
                passes.policy,
                passes.reference,
                beta=method.beta,
                preference=passes.preference,
                weight=passes.weight,
            ),
            predictions=method.safeguard is not None,
            safeguard=method.safeguard,
        )
    if isinstance(method, Sft):
        return Objective(
            lambda passes: sft(passes.policy[: len(passes.weight)], weight=passes.weight), reference=False, losers=False
        )
    raise NotImplementedError(method.name)
