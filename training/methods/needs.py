"""What each method needs of a forward pass and of a step, as plain data, so that a run can be planned and refused
before anything is loaded."""

from __future__ import annotations

from dataclasses import dataclass

from ranking.errors import UsageError
from training.methods.options import Dspo, Kto, Mapo, Method, Rpo, Sft


@dataclass(frozen=True)
class Needs:
    """`reference`: the reference's errors, which may be cached. `predictions`: the policy's prediction and the target,
    beside the errors; `reference_predictions`: the reference's as well, so that it must run itself. `features`: unit
    vectors of images and prompts. `losers`: both images of a pair; else only winners are passed. `whole_step`: all
    pairs of an optimiser step at once, over its forward passes and processes."""

    reference: bool = True
    predictions: bool = False
    reference_predictions: bool = False
    features: bool = False
    losers: bool = True
    whole_step: bool = False


def needs(method: Method) -> Needs:
    """What a method needs with these options."""
    if isinstance(method, Sft):
        return Needs(reference=False, losers=False)
    guarded = method.safeguard is not None
    if isinstance(method, Mapo):
        return Needs(reference=False, predictions=guarded)
    if isinstance(method, Dspo):
        return Needs(predictions=True, reference_predictions=True)
    if isinstance(method, Rpo):
        return Needs(predictions=guarded, features=True, whole_step=True)
    return Needs(predictions=guarded, whole_step=isinstance(method, Kto))


def check_step(method: Method, *, pairs: int, prompts: int) -> None:
    """Raise UsageError where a step of so many `pairs`, over all its forward passes and processes, out of a subset of
    so many distinct `prompts`, leaves the method nothing to compare."""
    if not isinstance(method, Rpo):
        return
    if pairs < 2:
        raise UsageError(
            "the method rpo compares pairs with one another, but a step sees 1 pair",
            hint="raise batch or accumulate to 2 or more, or take dpo, which is the same for one pair",
        )
    if prompts < 2:
        raise UsageError(
            "the method rpo compares pairs of different prompts, but the subset has 1 prompt",
            hint="take dpo, or a subset of 2 or more prompts",
        )
