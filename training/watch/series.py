"""Records of steps as curves: bounded, smoothed, and without torch, so that whoever shows a run can draw them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

Record = Mapping[str, Any]
"""A step as metrics.jsonl has it: `Step.record()`. None stands for what is not known."""

NAMES: Final = (
    "loss",
    "implicit_accuracy",
    "winner_change",
    "loser_change",
    "winner_error",
    "loser_error",
    "logit",
    "logit_spread",
    "negative_share",
    "gradient_factor",
    "kl_proxy",
    "prediction_distance",
    "gradient_norm",
    "learning_rate",
    "pairs_per_second",
    "memory",
)
BY_TIME: Final = ("implicit_accuracy", "winner_change", "loser_change")


@dataclass(frozen=True)
class Series:
    """One number over the steps, in at most as many ranges of steps as asked for. `mean`, `low` and `high` are those of
    the known values of each range, `smooth` is a moving mean around the range's middle over a
    twentieth of the run (of a short one a fifth, up to 17 steps). `step` is the middle of each range."""

    name: str
    step: tuple[float, ...]
    mean: tuple[float | None, ...]
    low: tuple[float | None, ...]
    high: tuple[float | None, ...]
    smooth: tuple[float | None, ...]


@dataclass(frozen=True)
class TimeGrid:
    """One number by range of steps (rows, in order of `step`) and by range of diffusion time (columns, least noise
    first): means over the pairs, None where no pair was."""

    name: str
    step: tuple[float, ...]
    rows: tuple[tuple[float | None, ...], ...]


def read_records(lines: Iterable[str]) -> list[Record]:
    """The records of metrics.jsonl by step. A line that is damaged, such as the last one of a killed process, is left
    out; of two with one step the later counts."""
    found: dict[int, Record] = {}
    for line in lines:
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict) and isinstance(value.get("step"), int):
            found[value["step"]] = value
    return [found[step] for step in sorted(found)]


def series_of(records: Sequence[Record], *, points: int = 240) -> list[Series]:
    """A series of each number that is known at least once, in the order of NAMES, of at most `points` points."""
    made = []
    for name in NAMES:
        known = [(record["step"], value) for record in records if (value := number(record.get(name))) is not None]
        if known:
            made.append(_series(name, known, points))
    return made


def time_grids(records: Sequence[Record], *, rows: int = 24) -> list[TimeGrid]:
    """What is known by diffusion time, in at most `rows` ranges of steps."""
    grids = []
    parts = ranges(records, rows)
    for name in BY_TIME:
        lines = [_by_time(part, name) for part in parts]
        if any(value is not None for line in lines for value in line):
            grids.append(TimeGrid(name, tuple(_middle(part) for part in parts), tuple(lines)))
    return grids


def ranges(records: Sequence[Record], most: int) -> list[Sequence[Record]]:
    """The records cut into at most `most` consecutive parts of as equal a length as can be."""
    if not records:
        return []
    count = min(most, len(records))
    cuts = [len(records) * i // count for i in range(count + 1)]
    return [records[low:high] for low, high in pairwise(cuts)]


def number(value: Any) -> float | None:
    """A finite number, or None for anything else."""
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    return None


def values_of(records: Iterable[Record], name: str) -> list[float]:
    """The known values of one number, in order."""
    return [value for record in records if (value := number(record.get(name))) is not None]


def _series(name: str, known: list[tuple[int, float]], points: int) -> Series:
    count = min(points, len(known))
    cuts = [len(known) * i // count for i in range(count + 1)]
    sums = [0.0]
    for _, value in known:
        sums.append(sums[-1] + value)
    # A twentieth of a short run is too few steps to even out their timesteps.
    reach = max(len(known) // 40, min(8, len(known) // 10))
    middles, means, lows, highs, smooth = [], [], [], [], []
    for low, high in pairwise(cuts):
        values = [value for _, value in known[low:high]]
        middle = (low + high) // 2
        begin, end = max(0, min(low, middle - reach)), min(len(known), max(high, middle + reach + 1))
        middles.append((known[low][0] + known[high - 1][0]) / 2)
        means.append((sums[high] - sums[low]) / (high - low))
        lows.append(min(values))
        highs.append(max(values))
        smooth.append((sums[end] - sums[begin]) / (end - begin))
    return Series(name, tuple(middles), tuple(means), tuple(lows), tuple(highs), tuple(smooth))


def _by_time(part: Sequence[Record], name: str) -> tuple[float | None, ...]:
    total: list[float] = []
    count: list[float] = []
    for record in part:
        found = record.get("by_time")
        if not isinstance(found, Mapping):
            continue
        pairs, values = found.get("pairs") or [], found.get(name) or []
        if len(values) > len(total):
            total += [0.0] * (len(values) - len(total))
            count += [0.0] * (len(values) - len(count))
        for place, (many, value) in enumerate(zip(pairs, values, strict=False)):
            if (known := number(value)) is not None and many:
                total[place] += many * known
                count[place] += many
    return tuple(each / many if many else None for each, many in zip(total, count, strict=True))


def _middle(part: Sequence[Record]) -> float:
    return float(part[0]["step"] + part[-1]["step"]) / 2
