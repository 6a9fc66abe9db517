"""From a method's options to what the loop minimises: which passes it needs, and the loss of what they gave."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor

from training.losses.dpo import diffusion_dpo
from training.losses.dspo import dspo
from training.losses.kto import diffusion_kto
from training.losses.mapo import mapo
from training.losses.margins import hinge, ipo
from training.losses.outcome import Outcome
from training.losses.robust import robust_dpo
from training.losses.rpo import diffusion_rpo
from training.losses.safeguard import loser_scale
from training.losses.sft import sft
from training.methods.needs import Needs, needs
from training.methods.options import Dpo, Dspo, Hinge, Ipo, Kto, Mapo, Method, RobustDpo, Rpo, Sft


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


@dataclass(frozen=True, kw_only=True)
class Objective(Needs):
    """A method's loss and what it needs of a forward pass.

    `compare` is the loss as a function of what the passes gave. The loop calls `loss`, which is that with the
    `safeguard` (its μ, or None) in the gradient. Of a `whole_step` objective that is the loss of all of the step's
    pairs, and `training.methods.whole_step` says how to take its gradient where they do not fit into one pass.
    """

    compare: Callable[[Passes], Outcome]
    safeguard: float | None = None

    def loss(self, passes: Passes) -> Outcome:
        """The loss of one forward pass, to be backpropagated; for a `whole_step` objective, of all of the step in one
        pass."""
        if self.safeguard is None:
            return self.compare(passes)
        if self.reference_predictions:
            return self.compare(_held_back(passes, self.safeguard))
        outcome, slopes = self.slopes(passes)
        carrier = self.carrier(passes, slopes)
        return replace(outcome, loss=outcome.loss + carrier - carrier.detach())

    def slopes(self, passes: Passes) -> tuple[Outcome, Tensor]:
        """The outcome, without a graph, and d loss / d error in shape and dtype of `policy`. Where the loss depends on
        the network through these errors alone (all objectives but those of `reference_predictions`), they are all that
        a backward pass needs."""
        errors = passes.policy.detach().requires_grad_()
        with torch.enable_grad():
            outcome = self.compare(replace(passes, policy=errors))
            (slopes,) = torch.autograd.grad(outcome.loss, errors)
        return replace(outcome, loss=outcome.loss.detach()), slopes

    def carrier(self, passes: Passes, slopes: Tensor) -> Tensor:
        """Σ errors · slopes: a scalar of no meaning whose gradient in the network's weights is the loss's, with the
        safeguard's scale on what it holds back."""
        if self.safeguard is not None:
            slopes = slopes * loser_scale(*_predicted(passes), slopes, mu=self.safeguard)
        return (passes.policy * slopes).sum()


def make_objective(method: Method) -> Objective:
    """The objective of a method's options."""
    safeguard = None if isinstance(method, Sft) else method.safeguard
    return Objective(compare=_compare(method), safeguard=safeguard, **asdict(needs(method)))


_LOSSES: dict[type, Callable[..., Outcome]] = {
    Dpo: diffusion_dpo,
    RobustDpo: robust_dpo,
    Ipo: ipo,
    Hinge: hinge,
    Mapo: mapo,
    Kto: diffusion_kto,
    Dspo: dspo,
    Rpo: diffusion_rpo,
}
_NOT_OF_THE_LOSS = {"name", "safeguard", "embedding"}


def _compare(method: Method) -> Callable[[Passes], Outcome]:
    if isinstance(method, Sft):
        # Winners only, also where losers were passed along.
        return lambda passes: sft(passes.policy[: len(passes.weight)], weight=passes.weight)
    loss, needed = _LOSSES[type(method)], needs(method)
    options = method.model_dump(exclude=_NOT_OF_THE_LOSS)

    def compare(passes: Passes) -> Outcome:
        tensors = [passes.policy]
        if needed.reference:
            tensors.append(_there(passes.reference, "the reference's errors"))
        if needed.reference_predictions:
            prediction, target = _predicted(passes)
            tensors += [prediction, _there(passes.reference_prediction, "the reference's predictions"), target]
        if needed.features:
            tensors.append(_there(passes.features, "features"))
        return loss(*tensors, preference=passes.preference, weight=passes.weight, **options)

    return compare


def _predicted(passes: Passes) -> tuple[Tensor, Tensor]:
    return _there(passes.prediction, "predictions"), _there(passes.target, "their target")


def _there(tensor: Tensor | None, what: str) -> Tensor:
    if tensor is None:
        raise ValueError(f"the method needs {what}, and the passes do not have them")
    return tensor


def _held_back(passes: Passes, mu: float) -> Passes:
    """The same, but with the losers' errors passing only λ of their gradient on, as in the safeguard's own code."""
    count = len(passes.weight)
    slopes = torch.ones_like(passes.policy.detach())
    slopes[count:] = -1
    scale = loser_scale(*_predicted(passes), slopes, mu=mu)
    still = passes.policy.detach()
    return replace(passes, policy=still + scale * (passes.policy - still))
