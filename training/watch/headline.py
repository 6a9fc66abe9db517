"""What a person in a hurry reads first: one sentence on whether a training learns."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from training.drawing import with_minus
from training.watch.series import Record, values_of
from training.watch.warnings import grown, recent_steps, standard_error

_SURE = 2.0


def headline(records: Sequence[Record]) -> str:
    """The sentence, from means over the recent steps (a tenth, 20 to 200) beside the first ones. It says "learns" where
    the accuracy is two standard errors above one half (without a reference: above that of the first steps),
    or, for a method without accuracy, where the winners' error fell by as much."""
    if not records:
        return "No step was taken yet."
    steps = records[-1]["step"] + 1
    after = f"After {steps:,} step{'' if steps == 1 else 's'}"
    count = recent_steps(len(records))
    recent = records[-count:]
    accuracy = values_of(recent, "implicit_accuracy")
    if accuracy:
        if values_of(recent, "winner_change"):
            sure = fmean(accuracy) - 0.5 > _SURE * standard_error(accuracy)
        else:  # without a reference accuracy begins where the base model stands, and not at one half
            sure = len(records) >= 2 * count and _risen(values_of(records[:count], "implicit_accuracy"), accuracy)
        verdict = "It learns the order of its pairs" if sure else "No sure sign of learning yet"
        if grown(recent) is not None:
            verdict += ", but gets worse at winners too" if sure else ", and it gets worse at winners"
        start = values_of(records[:1], "implicit_accuracy")
        says = f"accuracy {fmean(accuracy):.2f}" + (f" ({start[0]:.2f} at the start)" if start else "")
        changes = _changes(recent)
        return f"{verdict}. {after} {says}{changes}."
    errors, first = values_of(recent, "winner_error"), values_of(records[:count], "winner_error")
    if not errors:
        return f"{after} nothing is known of errors."
    if len(records) < 2 * count:
        return f"{after} winners' error {fmean(errors):.4g}; too early for a trend."
    verdict = "It learns its winners" if _risen(errors, first) else "No sure sign of learning yet"
    return f"{verdict}. {after} winners' error {fmean(errors):.4g} ({fmean(first):.4g} in the first {count} steps)."


def _risen(below: Sequence[float], above: Sequence[float]) -> bool:
    """Whether the mean of one is above the other's by more than chance."""
    return fmean(above) - fmean(below) > _SURE * (standard_error(below) ** 2 + standard_error(above) ** 2) ** 0.5


def _changes(recent: Sequence[Record]) -> str:
    winner, loser = values_of(recent, "winner_change"), values_of(recent, "loser_change")
    if not winner or not loser:
        return ""
    return f", winners' error {_signed(fmean(winner))}, losers' {_signed(fmean(loser))} against the reference"


def _signed(value: float) -> str:
    return with_minus(f"{value:+.2g}") if value else "±0"
