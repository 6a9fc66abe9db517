"""What a training run left in the store, read without knowing how training works: metrics by step and
evaluations."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any, Final

from ranking.errors import NotFoundError, PairsieveError
from ranking.names import check_id
from ranking.runs import RunPlan, RunState, get_run, run_death, run_result, run_state
from ranking.store.blobs import Store

_LARGEST_METRICS: Final = 64 * 1024 * 1024
_MOST_METRICS: Final = 1000


@dataclass(frozen=True)
class RunFacts:
    """One run: its plan, its state, and what it measured. `metrics` has one map per logged step, evenly
    thinned."""

    plan: RunPlan
    state: RunState
    result: dict[str, Any] | None
    reason: str | None
    metrics: list[dict[str, Any]]
    evaluations: list[dict[str, Any]]


def read_run(store: Store, run_id: str) -> RunFacts:
    """Everything the store has on a run; NotFoundError for an unknown one."""
    plan = get_run(store, check_id("run", run_id))
    try:
        result = run_result(store, run_id)
    except NotFoundError:
        result = None
    return RunFacts(
        plan=plan,
        state=run_state(store, run_id),
        result=result,
        reason=run_death(store, run_id),
        metrics=_metrics(store, run_id, result),
        evaluations=_evaluations(store, run_id),
    )


def _metrics(store: Store, run_id: str, result: dict[str, Any] | None) -> list[dict[str, Any]]:
    """The run's metrics.jsonl, in the folder its result names or in its own. A line that is damaged, such as
    the last one of a killed process, is left out."""
    folders = [f"runs/{run_id}"]
    if result is not None and isinstance(result.get("output"), str):
        folders.insert(0, result["output"])
    for folder in folders:
        try:
            path = store.local(f"{folder}/metrics.jsonl")
        except PairsieveError:
            continue
        if path.stat().st_size <= _LARGEST_METRICS:
            with path.open(encoding="utf-8", errors="replace") as file:
                rows = [row for row in map(_parse, file) if row]
            return rows[:: math.ceil(len(rows) / _MOST_METRICS) or 1]
    return []


def _evaluations(store: Store, run_id: str) -> list[dict[str, Any]]:
    keys = [key for key in store.list(f"runs/{run_id}/evaluation") if key.endswith(".json")]
    if store.exists(f"runs/{run_id}/evaluation.json"):
        keys.append(f"runs/{run_id}/evaluation.json")
    found = [_parse(store.get(key).decode("utf-8", errors="replace")) for key in keys]
    return sorted((each for each in found if each), key=lambda each: str(each.get("created", "")))


def _parse(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
