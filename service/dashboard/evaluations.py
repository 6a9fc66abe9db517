"""A run's evaluation as the page shows it: win rates where it has some, and whatever else it says. Trains
nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from ranking.errors import PairsieveError
from ranking.store.blobs import Store
from service.api.samples import sample_url
from service.dashboard.text import number, percent, words
from service.problems import ApiProblem
from service.samples import are_small, list_samples, samples_key

_SAMPLES: Final = ("base_samples", "run_samples")
_SHOWN: Final = 8


class Ends(NamedTuple):
    """A number with the ends of its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Judge:
    """One judge's win rate of the run over its base, in [0, 1], with the ends of its interval. `circular` says that the
    judge had a part in choosing the run's pairs, `tie` from where a gap of scores is no tie any more. Scores are
    medians over prompts of each prompt's mean; records that are older than those have means over images alone."""

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
    median_base: Ends | None = None
    median_run: Ends | None = None
    median_gain: Ends | None = None
    gain: Ends | None = None
    p_value: float | None = None
    tie: str = ""


@dataclass(frozen=True)
class Compared:
    """The same prompt from the same seed, drawn by the base model and by the run: addresses of both images."""

    prompt: str
    base: str
    run: str


@dataclass(frozen=True)
class Evaluation:
    """`judges` are the win rates that could be read, `sentences` what else one should know of the run, `by_time` the
    accuracy of single draws on held-out pairs by (from, to) in diffusion time, `diversity` (who tells images apart,
    base, run, change), `samples` a few drawings of the same prompt and seed by base and run, `seen` whether an
    evaluation that is shown before has the same ones, `rest` all other entries as (dotted key, value)."""

    created: str
    about: str
    judges: list[Judge]
    sentences: list[str]
    diversity: tuple[str, Ends, Ends, Ends] | None
    by_time: list[tuple[float, float, Ends]]
    samples: list[Compared]
    pixelated: bool
    rest: list[tuple[str, Any]]
    seen: bool = False

    @property
    def circular(self) -> bool:
        """Whether a judge had a part in choosing the run's pairs."""
        return any(judge.circular for judge in self.judges)


def read_evaluations(store: Store, values: list[dict[str, Any]]) -> list[Evaluation]:
    """A run's evaluations, the newest of `values` (oldest first) first; of those with the same drawings the first alone
    has them."""
    shown: set[tuple[Any, ...]] = set()
    found = []
    for value in reversed(values):
        drawings = tuple(value.get(name) for name in _SAMPLES)
        evaluation = read_evaluation(store, value)
        seen = drawings in shown and bool(evaluation.samples)
        found.append(replace(evaluation, seen=True, samples=[]) if seen else evaluation)
        shown.add(drawings)
    return found


def read_evaluation(store: Store, value: dict[str, Any]) -> Evaluation:
    """An evaluation of any shape: what does not read as win rates is listed as it is."""
    entries = value.get("judges")
    judges = [_judge(entry) for entry in entries] if isinstance(entries, list) else []
    known = [judge for judge in judges if judge is not None]
    complete = bool(known) and len(known) == len(judges)
    rest = {key: item for key, item in value.items() if not (complete and key == "judges")}
    sentences = [*_diversity(value.get("diversity")), *_implicit(value.get("implicit"))]
    samples, pixelated = _samples(store, value)
    return Evaluation(
        created=str(value.get("created") or ""),
        about=_about(value),
        judges=known if complete else [],
        sentences=sentences,
        diversity=_spread(value.get("diversity")),
        by_time=_by_time(value.get("implicit")),
        samples=samples,
        pixelated=pixelated,
        rest=flat(rest),
    )


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
        median_base=estimate(entry, "median_base"),
        median_run=estimate(entry, "median_run"),
        median_gain=estimate(entry, "median_gain"),
        gain=estimate(entry, "gain"),
        p_value=_number(entry.get("p_value")),
        tie=_tie(entry.get("margin")),
    )


def _tie(margin: Any) -> str:
    """What counts as a tie, in words; empty where the record does not say."""
    if not isinstance(margin, dict) or (width := _number(margin.get("width"))) is None:
        return ""
    source = margin.get("source")
    told = {"oracle": "the oracle's own", "repeatability": "its repeatability", "absolute": "as asked"}
    return "equal scores" if not width else f"within {width:.3g}, {told.get(str(source), source)}"


def _about(value: dict[str, Any]) -> str:
    """What was drawn, in a phrase."""
    settings = value.get("settings")
    known = settings if isinstance(settings, dict) else {}
    told = []
    images, prompts = (_number(value.get(name)) for name in ("images", "prompts"))
    if images and prompts:
        told.append(f"{words(int(images), 'image')} of {words(int(prompts), 'prompt')} by each model")
    for name, title in (("inference_steps", "sampler steps"), ("guidance", "guidance"), ("seed", "first seed")):
        if (found := _number(known.get(name))) is not None:
            told.append(f"{title} {found:g}")
    return ", ".join(told)


def _spread(entry: Any) -> tuple[str, Ends, Ends, Ends] | None:
    base, run, change = (estimate(entry, name) for name in ("base", "run", "change"))
    return (str(entry.get("of", "")), base, run, change) if base and run and change else None


def _by_time(entry: Any) -> list[tuple[float, float, Ends]]:
    """Accuracy by range of diffusion time, the least noise first."""
    buckets = entry.get("buckets") if isinstance(entry, dict) else None
    found = []
    for bucket in buckets if isinstance(buckets, list) else []:
        accuracy = estimate(bucket, "accuracy")
        start, stop = (_number(bucket.get(end)) if isinstance(bucket, dict) else None for end in ("start", "stop"))
        if accuracy and start is not None and stop is not None:
            found.append((start, stop, accuracy))
    return found


def _diversity(entry: Any) -> Iterator[str]:
    """How different images of one prompt are: a model that draws the same again and again may win all the same."""
    base, run, change = (estimate(entry, name) for name in ("base", "run", "change"))
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
    if accuracy := estimate(entry, "accuracy"):
        value, low, high = (percent(each, 1) for each in accuracy)
        yield (
            f"Of {entry.get('pairs')} held-out pairs of {entry.get('of')} it has {value} in the right order "
            f"(95 %: {low} to {high})."
        )


def estimate(entry: Any, name: str) -> Ends | None:
    """The number `name` of a record, with its interval; None where it has none."""
    found = entry.get(name) if isinstance(entry, dict) else None
    if not isinstance(found, dict):
        return None
    value, low, high = (_number(found.get(key)) for key in ("value", "low", "high"))
    return Ends(value, low, high) if value is not None and low is not None and high is not None else None


def _number(value: Any) -> float | None:
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    return None
