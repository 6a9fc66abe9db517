"""A run's evaluation as the page shows it: win rates where it has some, and whatever else it says. Trains
nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from ranking.errors import PairsieveError
from ranking.store.blobs import Store
from service.api.samples import sample_url
from service.dashboard.text import number, percent
from service.problems import ApiProblem
from service.samples import are_small, list_samples, samples_key

_SAMPLES: Final = ("base_samples", "run_samples")
_SHOWN: Final = 8


@dataclass(frozen=True)
class Judge:
    """One judge's win rate of the run over its base, in [0, 1], with the ends of its interval. `circular` says that the
    judge had a part in choosing the run's pairs."""

    name: str
    rate: float
    low: float
    high: float
    wins: int
    losses: int
    ties: int
    mean_base: float | None
    mean_run: float | None
    circular: bool


@dataclass(frozen=True)
class Compared:
    """The same prompt from the same seed, drawn by the base model and by the run: addresses of both images."""

    prompt: str
    base: str
    run: str


@dataclass(frozen=True)
class Evaluation:
    """`judges` are the win rates that could be read, `sentences` what else one should know of the run, `samples` a few
    drawings of the same prompt and seed by base and run, `rest` all other entries as (dotted key, value)."""

    judges: list[Judge]
    sentences: list[str]
    samples: list[Compared]
    pixelated: bool
    rest: list[tuple[str, Any]]


def read_evaluation(store: Store, value: dict[str, Any]) -> Evaluation:
    """An evaluation of any shape: what does not read as win rates is listed as it is."""
    entries = value.get("judges")
    judges = [_judge(entry) for entry in entries] if isinstance(entries, list) else []
    known = [judge for judge in judges if judge is not None]
    complete = bool(known) and len(known) == len(judges)
    rest = {key: item for key, item in value.items() if not (complete and key == "judges")}
    sentences = [*_diversity(value.get("diversity")), *_implicit(value.get("implicit"))]
    samples, pixelated = _samples(store, value)
    return Evaluation(known if complete else [], sentences, samples, pixelated, flat(rest))


def flat(value: dict[str, Any], *, prefix: str = "") -> list[tuple[str, Any]]:
    """Nested maps as (dotted key, value), in order."""
    rows: list[tuple[str, Any]] = []
    for key, item in value.items():
        name = f"{prefix}{key}"
        rows += flat(item, prefix=f"{name}.") if isinstance(item, dict) and item else [(name, item)]
    return rows


def _samples(store: Store, value: dict[str, Any]) -> tuple[list[Compared], bool]:
    """One drawing for each of the first prompts, and whether they are small; none where they are not there."""
    ids = [str(value.get(name, "")).removeprefix("samples/").removesuffix(".parquet") for name in _SAMPLES]
    try:
        base, run = (list_samples(store, samples_key(samples_id)) for samples_id in ids)
        pixelated = are_small(store, samples_key(ids[0]))
    except (PairsieveError, ApiProblem):
        return [], False
    shown: dict[str, Compared] = {}
    for one, other in zip(base, run, strict=False):
        if (one.prompt, one.seed) == (other.prompt, other.seed) and len(shown) < _SHOWN:
            urls = (sample_url(samples_id, one.index) for samples_id in ids)
            shown.setdefault(one.prompt, Compared(one.prompt, *urls))
    return list(shown.values()), pixelated


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
        circular=entry.get("circular") is True,
    )


def _diversity(entry: Any) -> Iterator[str]:
    """How different images of one prompt are: a model that draws the same again and again may win all the same."""
    base, run, change = (_estimate(entry, name) for name in ("base", "run", "change"))
    if base and run and change:
        sure = change[1] > 0 or change[2] < 0
        moved = "grew" if change[0] > 0 else "fell"
        verdict = f"Diversity {moved}" if sure else "Diversity did not surely change"
        yield (
            f"{verdict}: images of one prompt are {number(run[0])} apart, those of the base model {number(base[0])} "
            f"(change {number(change[0], signed=True)}, 95 %: {number(change[1], signed=True)} to "
            f"{number(change[2], signed=True)}, by {entry.get('of')})."
        )


def _implicit(entry: Any) -> Iterator[str]:
    """Whether the order of pairs that it was not trained on is right."""
    if accuracy := _estimate(entry, "accuracy"):
        value, low, high = (percent(each, 1) for each in accuracy)
        yield (
            f"Of {entry.get('pairs')} held-out pairs of {entry.get('of')} it has {value} in the right order "
            f"(95 %: {low} to {high})."
        )


def _estimate(entry: Any, name: str) -> tuple[float, float, float] | None:
    found = entry.get(name) if isinstance(entry, dict) else None
    if not isinstance(found, dict):
        return None
    value, low, high = (_number(found.get(key)) for key in ("value", "low", "high"))
    return (value, low, high) if value is not None and low is not None and high is not None else None


def _number(value: Any) -> float | None:
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    return None
