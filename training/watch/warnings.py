"""What one should know of a training before one believes it: said from its recent steps, with the numbers it came
from."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, median, stdev
from typing import Any, Final

from training.watch.series import Record, values_of

_FEWEST: Final = 20
_MOST: Final = 200
_SURE: Final = 2.0  # standard errors that a mean must be away to count as different
_GROWN: Final = 0.01  # of the reference's error
_PINNED: Final = 0.995
_ALWAYS: Final = 0.95
_FLAT_LOGIT: Final = 5.0  # σ(−5) = 0.0067: the gradient is a 75th of what it was
_SKIPPED: Final = 0.05


@dataclass(frozen=True)
class RunWarning:
    """`code` names the kind, `message` says what is the case with its `numbers`, `todo` what to do about it. One that
    is not `grave` may be as it should be."""

    code: str
    message: str
    todo: str
    numbers: dict[str, float]
    grave: bool = True

    def record(self) -> dict[str, Any]:
        """The warning as plain JSON."""
        return asdict(self)


def warnings_of(records: Sequence[Record], config: Mapping[str, Any]) -> list[RunWarning]:
    """What the steps so far give reason to warn of, the gravest first; none before 20 steps. `config` is the run's,
    as plain JSON."""
    if len(records) < _FEWEST:
        return []
    recent = records[-recent_steps(len(records)) :]
    found = [check(records, recent, config) for check in _CHECKS]
    return [warning for warning in found if warning is not None]


def recent_steps(count: int) -> int:
    """How many of `count` steps are looked at: a tenth, but at least 20 and at most 200."""
    return min(count, _MOST, max(_FEWEST, count // 10))


def standard_error(values: Sequence[float]) -> float:
    """Of the mean of values taken as independent; infinite below two."""
    return stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.inf


def grown(recent: Sequence[Record]) -> float | None:
    """By what share of the reference's error the winners' error has grown, where the losers' has grown too and chance
    is not enough for either; None else, and below 1 %."""
    winner, loser = values_of(recent, "winner_change"), values_of(recent, "loser_change")
    error = values_of(recent, "winner_error")
    if not winner or not loser or not error or fmean(error) <= fmean(winner):
        return None
    share = fmean(winner) / (fmean(error) - fmean(winner))
    sure = all(fmean(each) > _SURE * standard_error(each) for each in (winner, loser))
    return share if sure and share >= _GROWN else None


def _both_grow(_: Sequence[Record], recent: Sequence[Record], config: Mapping[str, Any]) -> RunWarning | None:
    share = grown(recent)
    if share is None:
        return None
    winner, loser = fmean(values_of(recent, "winner_change")), fmean(values_of(recent, "loser_change"))
    method = config.get("method") or {}
    way = "set method.safeguard (0.9 for SD 1.5, 0.6 for SDXL), " if not method.get("safeguard") else ""
    return RunWarning(
        "both-errors-grow",
        f"The model gets worse at winners too: over the last {len(recent)} steps their error is "
        f"{share:+.1%} ({winner:+.4g}) against the reference, the losers' {loser:+.4g}",
        f"{way}raise method.beta or lower learning_rate; stop where samples are still good",
        {"winner_change": winner, "loser_change": loser, "grown": share, "steps": len(recent)},
    )


def _skipped(records: Sequence[Record], recent: Sequence[Record], _: Mapping[str, Any]) -> RunWarning | None:
    # The scale of fp16 is found by skipping: the first steps say nothing.
    settled = recent[-(len(records) - _FEWEST) :] if len(records) > _FEWEST else []
    skipped = sum(record.get("skipped") is True for record in settled)
    if len(settled) < _FEWEST or skipped <= _SKIPPED * len(settled):
        return None
    return RunWarning(
        "steps-skipped",
        f"{skipped} of the last {len(settled)} steps changed nothing, because fp16 overflowed",
        "set precision to bf16 or fp32",
        {"skipped": skipped, "steps": len(settled)},
    )


def _memorised(_: Sequence[Record], recent: Sequence[Record], __: Mapping[str, Any]) -> RunWarning | None:
    accuracy = values_of(recent, "implicit_accuracy")
    if not accuracy or fmean(accuracy) < _PINNED:
        return None
    return RunWarning(
        "memorised",
        f"Accuracy is pinned at {fmean(accuracy):.3f} over the last {len(recent)} steps: "
        "the pairs are known by heart, which says nothing of others",
        "train fewer steps or on more pairs; trust the evaluation on held-out prompts",
        {"implicit_accuracy": fmean(accuracy), "steps": len(recent)},
    )


def _saturated(_: Sequence[Record], recent: Sequence[Record], __: Mapping[str, Any]) -> RunWarning | None:
    logit, spread = values_of(recent, "logit"), values_of(recent, "logit_spread")
    factor = values_of(recent, "gradient_factor")
    if not logit or not spread or max(abs(fmean(logit)), fmean(spread)) < _FLAT_LOGIT:
        return None
    return RunWarning(
        "logits-saturated",
        f"Logits are {fmean(logit):.3g} with a spread of {fmean(spread):.3g}, where σ is flat; "
        f"the mean gradient factor is {fmean(factor):.2g} (0.5 at the start)",
        "lower method.beta or learning_rate",
        {"logit": fmean(logit), "logit_spread": fmean(spread), "gradient_factor": fmean(factor)},
    )


def _clipped(_: Sequence[Record], recent: Sequence[Record], config: Mapping[str, Any]) -> RunWarning | None:
    most, norms = config.get("max_grad_norm"), values_of(recent, "gradient_norm")
    if most is None or not norms or config.get("optimiser") == "adafactor":  # which clips its updates, not gradients
        return None
    share = sum(norm > most for norm in norms) / len(norms)
    if share < _ALWAYS:
        return None
    return RunWarning(
        "always-clipped",
        f"The gradient was clipped in {share:.0%} of the last {len(recent)} steps: "
        f"its norm is {median(norms):.3g}, max_grad_norm {most:g}",
        "this is usual for a β in the thousands and adamw, which heeds no scale; raise max_grad_norm to let steps of "
        "much to learn be longer than others",
        {"share": share, "gradient_norm": median(norms), "max_grad_norm": float(most)},
        grave=False,
    )


def _flat(records: Sequence[Record], _: Sequence[Record], config: Mapping[str, Any]) -> RunWarning | None:
    since = [record for record in records if record["step"] >= (config.get("warmup") or 0)]
    third = len(since) // 3
    if third < _FEWEST:
        return None
    early, late = since[:third], since[-third:]

    def moved(name: str) -> bool:
        before, after = values_of(early, name), values_of(late, name)
        if len(before) < 2 or len(after) < 2:
            return False
        return abs(fmean(after) - fmean(before)) > _SURE * math.hypot(standard_error(before), standard_error(after))

    accuracy = values_of(late, "implicit_accuracy")
    learnt = bool(accuracy) and fmean(accuracy) - 0.5 > _SURE * standard_error(accuracy)
    if moved("loss") or learnt:
        return None
    before, after = values_of(early, "loss"), values_of(late, "loss")
    if not before or not after:
        return None
    return RunWarning(
        "loss-flat",
        f"The loss shows no trend since the warm-up: {fmean(before):.4g} ± {standard_error(before):.2g} in its first "
        f"third, {fmean(after):.4g} ± {standard_error(after):.2g} in its last",
        "look at the smoothed curve and at win rates, as random timesteps hide small trends; else raise learning_rate",
        {"early": fmean(before), "late": fmean(after), "steps": len(since)},
        grave=False,
    )


_CHECKS: Final[tuple[Callable[..., RunWarning | None], ...]] = (
    _both_grow,
    _skipped,
    _memorised,
    _saturated,
    _clipped,
    _flat,
)
