"""A run's evaluation as the page shows it: win rates where it has some, and whatever else it says. Trains
nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Judge:
    """One judge's win rate of the run over its base, in [0, 1], with the ends of its interval."""

    name: str
    rate: float
    low: float
    high: float
    wins: int
    losses: int
    ties: int
    mean_base: float | None
    mean_run: float | None


@dataclass(frozen=True)
class Evaluation:
    """`judges` are the win rates that could be read, `rest` all other entries as (dotted key, value)."""

    judges: list[Judge]
    rest: list[tuple[str, Any]]


def read_evaluation(value: dict[str, Any]) -> Evaluation:
    """An evaluation of any shape: what does not read as win rates is listed as it is."""
    entries = value.get("judges")
    judges = [_judge(entry) for entry in entries] if isinstance(entries, list) else []
    known = [judge for judge in judges if judge is not None]
    complete = bool(known) and len(known) == len(judges)
    rest = {key: item for key, item in value.items() if not (complete and key == "judges")}
    return Evaluation(known if complete else [], flat(rest))


def flat(value: dict[str, Any], *, prefix: str = "") -> list[tuple[str, Any]]:
    """Nested maps as (dotted key, value), in order."""
    rows: list[tuple[str, Any]] = []
    for key, item in value.items():
        name = f"{prefix}{key}"
        rows += flat(item, prefix=f"{name}.") if isinstance(item, dict) and item else [(name, item)]
    return rows


def _judge(entry: Any) -> Judge | None:
    if not isinstance(entry, dict):
        return None
    ends = [_number(entry.get(name)) for name in ("rate", "low", "high")]
    rate, low, high = (end if end is not None and 0 <= end <= 1 else None for end in ends)
    if rate is None or low is None or high is None:
        return None
    wins, losses, ties = (int(_number(entry.get(name)) or 0) for name in ("wins", "losses", "ties"))
    return Judge(
        name=str(entry.get("judge", "judge")),
        rate=rate,
        low=low,
        high=high,
        wins=wins,
        losses=losses,
        ties=ties,
        mean_base=_number(entry.get("mean_base")),
        mean_run=_number(entry.get("mean_run")),
    )


def _number(value: Any) -> float | None:
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    return None
