"""From a method's options to what the loop minimises: which passes it needs, and the loss of what they gave."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from training.losses.dpo import diffusion_dpo
from training.losses.outcome import Outcome
from training.losses.sft import sft
from training.methods.options import Dpo, Method, Sft


@dataclass(frozen=True)
class Passes:
    """What forward passes over B pairs gave. `policy` and `reference` are float32 errors (2B,), winners first;
    `reference` is None where the method needs none. The predictions (2B, C, h, w) are there where it needs them,
    `features` (2B, D) likewise. `preference` and `weight` are (B,)."""

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
    """`loss` of what the passes gave, and what it needs: the `reference`'s errors (which may be cached), `predictions`
    (then the reference itself must run), `features` of the images, or, where it compares pairs with each other, all
    pairs of a `whole_step`, over its forward passes and processes, at once."""

    loss: Callable[[Passes], Outcome]
    reference: bool = True
    predictions: bool = False
    features: bool = False
    whole_step: bool = False


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
            )
        )
    if isinstance(method, Sft):
        return Objective(lambda passes: sft(passes.policy, weight=passes.weight), reference=False)
    raise NotImplementedError(method.name)
