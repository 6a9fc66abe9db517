"""What a training run left in the store or tells while it goes on, as curves, warnings, samples and evaluations. Trains
nothing, and loads no torch."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from statistics import fmean
from typing import Any, Final

from ranking.errors import NotFoundError, PairsieveError
from ranking.names import canonical_json, check_id
from ranking.runs import RunPlan, RunState, get_run, run_death, run_result, run_state
from ranking.store.blobs import Store
from training.watch.headline import headline
from training.watch.live import told
from training.watch.series import Record, Series, TimeGrid, read_records, series_of, time_grids, values_of
from training.watch.warnings import RunWarning, recent_steps, warnings_of

POINTS: Final = 240
_LARGEST: Final = 64 * 1024 * 1024


@dataclass(frozen=True)
class Curves:
    """What the steps of a run say. `recent` are means of the known numbers over the recent steps, `latest` is the last
    step as it was recorded; both are empty before the first."""

    headline: str
    steps_done: int
    series: list[Series]
    by_time: list[TimeGrid]
    warnings: list[RunWarning]
    recent: dict[str, float]
    latest: Record


@dataclass(frozen=True)
class RunFacts:
    """One run: its plan, its state, and what it measured. `told` is when a run that goes on last told its steps (Unix
    time), None for one that ended or told nothing; `samples` are the steps before which pictures were drawn."""

    plan: RunPlan
    state: RunState
    result: dict[str, Any] | None
    reason: str | None
    curves: Curves
    told: float | None
    samples: list[int]
    evaluations: list[dict[str, Any]]

    @property
    def steps_total(self) -> int | None:
        """How many optimiser steps the config asks for."""
        steps = self.plan.config.get("steps")
        return steps if isinstance(steps, int) else None

    @property
    def method(self) -> str:
        """The method's name."""
        method = self.plan.config.get("method")
        return str(method.get("name", "dpo")) if isinstance(method, dict) else "dpo"

    @property
    def seconds_left(self) -> float | None:
        """How long the steps to come take at the recent rate; None where that is not known or nothing is to come."""
        seconds, total = self.curves.recent.get("seconds"), self.steps_total
        if self.state != "running" or seconds is None or total is None:
            return None
        return max(0, total - self.curves.steps_done) * seconds


def read_run(store: Store, run_id: str, *, points: int = POINTS, lease_seconds: float = 600) -> RunFacts:
    """Everything the store has on a run, curves of at most `points` points; NotFoundError for an unknown one. It is
    running if it gave a sign of life within `lease_seconds`. With 0 points there are no curves and no grids by time,
    which is a small part of the work: for whoever lists many runs."""
    plan = get_run(store, check_id("run", run_id))
    try:
        result = run_result(store, run_id)
    except NotFoundError:
        result = None
    word = told(store, run_id) if result is None else None
    kept = None if result is None else metrics_path(store, run_id, result)
    if kept is not None:
        version, config = kept.stat().st_mtime_ns, canonical_json(plan.config)
        curves = _in_full(kept, version, config, points) if points else _at_a_glance(kept, version, config)
    else:
        curves = curves_of(word.records if word is not None else [], plan.config, points=points)
    return RunFacts(
        plan=plan,
        state=run_state(store, run_id, lease_seconds=lease_seconds),
        result=result,
        reason=run_death(store, run_id),
        curves=curves,
        told=word.told if word is not None else None,
        samples=sample_steps(store, run_id),
        evaluations=_evaluations(store, run_id),
    )


def curves_of(records: Sequence[Record], config: Mapping[str, Any], *, points: int = POINTS) -> Curves:
    """What records of steps say, with curves of at most `points` points, none if 0."""
    recent = records[-recent_steps(len(records)) :] if records else []
    names = {name for record in recent for name in record} - {"step", "by_time"}
    return Curves(
        headline=headline(records),
        steps_done=records[-1]["step"] + 1 if records else 0,
        series=series_of(records, points=points) if points else [],
        by_time=time_grids(records) if points else [],
        warnings=warnings_of(records, config),
        recent={name: fmean(values) for name in sorted(names) if (values := values_of(recent, name))},
        latest=records[-1] if records else {},
    )


def metrics_path(store: Store, run_id: str, result: Mapping[str, Any]) -> Path | None:
    """The metrics.jsonl of a run that is done, in the folder that its result names; None where there is none."""
    folder = result.get("output")
    try:
        return store.local(f"{folder if isinstance(folder, str) else f'runs/{run_id}'}/metrics.jsonl")
    except PairsieveError:
        return None


def sample_steps(store: Store, run_id: str) -> list[int]:
    """The steps before which a run drew pictures."""
    names = [name.removesuffix(".parquet") for name in store.children(f"runs/{check_id('run', run_id)}/samples")]
    return sorted(int(name) for name in names if name.isdecimal())


def glance(store: Store, run_id: str) -> RunFacts:
    """A run without its curves, as lists of runs show it; NotFoundError for an unknown one."""
    return read_run(store, run_id, points=0)


@lru_cache(maxsize=8192)
def _at_a_glance(path: Path, _: int, config: bytes) -> Curves:
    return _of_file(path, config, points=0)


@lru_cache(maxsize=64)
def _in_full(path: Path, _: int, config: bytes, points: int) -> Curves:
    return _of_file(path, config, points=points)


def _of_file(path: Path, config: bytes, *, points: int) -> Curves:
    # Of a file beyond all bounds every other line, or fewer, are as good to draw.
    every = math.ceil(path.stat().st_size / _LARGEST) or 1
    with path.open(encoding="utf-8", errors="replace") as file:
        return curves_of(read_records(islice(file, 0, None, every)), json.loads(config), points=points)


def _evaluations(store: Store, run_id: str) -> list[dict[str, Any]]:
    keys = [key for key in store.list(f"runs/{run_id}/evaluation") if key.endswith(".json")]
    found = [_parse(store.get(key).decode("utf-8", errors="replace")) for key in keys]
    return sorted((each for each in found if each), key=lambda each: str(each.get("created", "")))


def _parse(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
