"""How one scorer fared with the items of a dataset, and what of that people should be told. Computes no score."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ranking.features.items import ItemScores
from ranking.schema import (
    CORRUPT,
    CRASH,
    MISSING,
    NON_FINITE,
    NOT_GIVEN,
    OK,
    STATUSES,
    TAKEN_DOWN,
    TOO_LARGE,
    UNSUPPORTED,
)

FEW: Final = 8
"""Items below which equal scores tell nothing."""

SHARE: Final = 0.01
"""The share of items without a score that may pass without a word."""


@dataclass(frozen=True)
class Tally:
    """One scorer's word on a dataset, as far as it is committed: how many items have a score, the least and the
    greatest (None without any), their mean and population deviation, the items without one by status, and whether the
    scores are `constant`: at least FEW, of several images, and all the same."""

    scored: int
    low: float | None
    high: float | None
    without: dict[str, int]
    constant: bool
    mean: float = 0.0
    deviation: float = 0.0

    @classmethod
    def parse(cls, record: Mapping[str, Any]) -> "Tally":
        """A tally as its record spells it; TypeError or ValueError for anything else."""
        tally = cls(**record)
        if not all(isinstance(count, int) for count in (tally.scored, *tally.without.values())):
            raise ValueError("a count is no whole number")
        return tally


@dataclass(frozen=True)
class ScorerWarning:
    """Something about a scorer's scores of a dataset that people should know before they rank by it: a code that stays
    ("constant-scores", "scores-missing"), one sentence on what is the matter and one on what to do."""

    scorer: str
    dataset: str
    code: str
    message: str
    todo: str


def tally(scores: ItemScores, images: Callable[[], npt.NDArray[np.int32]]) -> Tally:
    """Count one scorer's scores of n items. `images` gives for each of them the number of its image (int32, shape
    (n,)), and is asked only where all scores are the same."""
    codes, counts = np.unique(scores.status, return_counts=True)
    said = {STATUSES[code]: int(count) for code, count in zip(codes, counts, strict=True) if code >= 0}
    scored = said.pop(OK, 0)
    if not scored:
        return Tally(0, None, None, said, constant=False)
    low, high = float(np.nanmin(scores.values)), float(np.nanmax(scores.values))
    constant = low == high and scored >= FEW
    if constant:
        seen = images()[scores.status == STATUSES.index(OK)]
        constant = bool((seen != seen[0]).any())
    return Tally(scored, low, high, said, constant, *moments(scores.values))


def moments(values: npt.NDArray[np.floating[Any]]) -> tuple[float, float]:
    """Mean and population deviation of the finite ones among `values`, of any shape; (0, 0) without any. Exact sums of
    fixed-point numbers with 52 bits for the largest: no order of adding, machine or number of threads changes them."""
    kept = values[np.isfinite(values)].astype(np.float64)
    if not len(kept):
        return 0.0, 0.0
    largest = float(np.abs(kept).max())
    if largest == 0.0:
        return 0.0, 0.0
    unit = math.ldexp(1.0, max(math.frexp(largest)[1] - 52, -1000))
    mean = _exact_sum(kept / unit) / len(kept) * unit
    spread = np.abs(kept - mean)
    reach = float(spread.max())
    if reach == 0.0:
        return mean, 0.0
    scale = math.ldexp(1.0, math.frexp(reach)[1])
    square = _exact_sum((spread / scale) ** 2 * 2.0**52) / len(kept) / 2.0**52
    return mean, math.sqrt(square) * scale


def _exact_sum(values: npt.NDArray[np.float64]) -> int:
    """The sum of numbers up to 2^52, each rounded to a whole one first."""
    whole = np.rint(values).astype(np.int64)
    high = whole >> 26  # in two halves, so that not even 2^36 of them overflow
    return (int(high.sum()) << 26) + int((whole - (high << 26)).sum())


def warnings_of(tallies: Mapping[str, Tally], *, dataset: str) -> list[ScorerWarning]:
    """What to tell of the scorers of a dataset, by scorer."""
    return [warning for name, found in tallies.items() for warning in _warnings(name, found, dataset)]


def _warnings(scorer: str, found: Tally, dataset: str) -> Iterable[ScorerWarning]:
    if found.constant:
        yield ScorerWarning(
            scorer,
            dataset,
            "constant-scores",
            f"{scorer} gives all {found.scored:,} items of {dataset} the same score, {found.low:.6g}",
            "it cannot rank them: check its weights, or leave it out of recipes",
        )
    without = sum(found.without.values())
    total = found.scored + without
    if total and without > SHARE * total:
        worst = max(found.without, key=lambda status: (found.without[status], status))
        reasons = ", ".join(f"{count:,} {status.replace('_', ' ')}" for status, count in sorted(found.without.items()))
        yield ScorerWarning(
            scorer,
            dataset,
            "scores-missing",
            f"{scorer} has no score for {without:,} of {total:,} items of {dataset}, {100 * without / total:.1f} % "
            f"({reasons})",
            _ADVICE[worst],
        )


_UNREADABLE: Final = "pairs with these images are not ranked by it: see whether the source still has them whole"
_ADVICE: Final[Mapping[str, str]] = {
    MISSING: _UNREADABLE,
    CORRUPT: _UNREADABLE,
    TOO_LARGE: _UNREADABLE,
    UNSUPPORTED: _UNREADABLE,
    NON_FINITE: "it gave no number for them: score with it at fp32 precision, or mistrust its weights",
    CRASH: "scoring them killed the process: look at these images, and at the memory of the machine",
    TAKEN_DOWN: "somebody took these images down: their pairs are in no later snapshot, so there is nothing to do",
    NOT_GIVEN: "they were not in the table that was imported: import one that has them, under another name",
}
