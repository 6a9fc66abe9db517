"""The dashboard's pages of training runs: all of them, one of them while it goes on and afterwards, and several beside
each other."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request
from starlette.responses import HTMLResponse

from ranking.errors import PairsieveError, UsageError
from ranking.runs import list_runs
from ranking.store.blobs import Store
from ranking.subsets.catalog import Subset
from ranking.subsets.foreign import find_subset
from service.api.runs import row, sample_address
from service.dashboard.environment import page
from service.dashboard.evaluations import Judge, flat, read_evaluation, read_evaluations
from service.dashboard.run_charts import MOST_COMPARED, heats, overlaid, plots
from service.dashboard.styles import read_styles
from service.dashboard.text import duration, number, size, words
from service.dependencies import PartsDep
from service.problems import ApiProblem
from service.runs import RunFacts, glance, read_run
from service.samples import are_small, list_samples, run_samples_key

router = APIRouter(include_in_schema=False)

_A_PAGE: Final = 50
_MOST_COLUMNS: Final = 8
_MOST_OFFERED: Final = 100


@dataclass(frozen=True)
class Film:
    """Samples by step: for each prompt and seed (`rows`) one image per step of `steps`; `all_steps` is how many there
    are, of which at most 8 are shown side by side."""

    steps: list[int]
    all_steps: list[int]
    rows: list[tuple[str, int, list[str]]]
    pixelated: bool


@router.get("/runs")
def runs(
    request: Request, parts: PartsDep, wanted: Annotated[int, Query(alias="page", ge=1, le=2**31)] = 1
) -> HTMLResponse:
    """Every run, newest first, fifty a page."""
    plans = list(reversed(list_runs(parts.store)))
    pages = max(1, math.ceil(len(plans) / _A_PAGE))
    at = min(wanted, pages)
    found = [glance(parts.store, plan.run_id) for plan in plans[(at - 1) * _A_PAGE : at * _A_PAGE]]
    return page(
        request,
        "runs.html",
        runs=[(facts, row(facts), _best_judge(parts.store, facts)) for facts in found],
        total=len(plans),
        first=(at - 1) * _A_PAGE + 1,
        newer=f"/runs?page={at - 1}" if at > 1 else None,
        older=f"/runs?page={at + 1}" if at < pages else None,
        most=MOST_COMPARED,
        live=any(facts.state == "running" for facts in found),
    )


@router.get("/runs/compare")
def compare_chosen(
    request: Request, parts: PartsDep, chosen: Annotated[list[str] | None, Query(alias="run")] = None
) -> HTMLResponse:
    """The runs that were chosen in the list, beside each other."""
    return _compared(request, parts, chosen or [])


@router.get("/runs/{run_id}")
def run(request: Request, run_id: str, parts: PartsDep) -> HTMLResponse:
    """One run: whether it learns, how it compares with its base model, its curves and samples, its config."""
    facts = read_run(parts.store, run_id)
    return page(
        request,
        "run.html",
        run=facts,
        row=row(facts),
        live=facts.state in ("running", "planned"),
        heard=None if facts.told is None else max(0.0, time.time() - facts.told),
        figures=_figures(facts),
        plots=plots(facts),
        heats=heats(facts),
        film=_film(parts.store, facts),
        config=flat(facts.plan.config),
        result=flat(facts.result or {}),
        ours=_is_ours(parts.store, facts.plan.subset),
        folder=_folder(parts.store, facts),
        evaluations=read_evaluations(parts.store, facts.evaluations),
        styles=read_styles(parts.store, run_id),
        others=[plan for plan in reversed(list_runs(parts.store)) if plan.run_id != run_id][:_MOST_OFFERED],
    )


@router.get("/runs/{run_id}/compare")
def compare(
    request: Request, run_id: str, parts: PartsDep, others: Annotated[list[str], Query(alias="with")]
) -> HTMLResponse:
    """A run beside others."""
    return _compared(request, parts, [run_id, *others])


def _compared(request: Request, parts: PartsDep, chosen: list[str]) -> HTMLResponse:
    """Up to four runs beside each other: what differs in their configs, their win rates, and their curves in one chart
    each. UsageError for fewer than two or too many."""
    ids = list(dict.fromkeys(chosen))
    if not 2 <= len(ids) <= MOST_COMPARED:
        raise UsageError(
            f"{words(len(ids), 'run')} cannot be compared",
            hint=f"choose two to {MOST_COMPARED} different ones in the list of runs",
        )
    found = [read_run(parts.store, run_id) for run_id in ids]
    configs = [dict(flat({"subset": facts.plan.subset} | facts.plan.config)) for facts in found]
    keys = dict.fromkeys(key for config in configs for key in config)
    changes = [(key, [config.get(key) for config in configs]) for key in keys]
    judges = [_judges(parts.store, facts) for facts in found]
    return page(
        request,
        "runs_compare.html",
        runs=found,
        rows=[row(facts) for facts in found],
        judges={name: [each.get(name) for each in judges] for each in judges for name in each},
        changes=[(key, values) for key, values in changes if any(value != values[0] for value in values)],
        plots=overlaid(found),
        live=any(facts.state == "running" for facts in found),
    )


def _figures(facts: RunFacts) -> list[tuple[str, str]]:
    recent, result = facts.curves.recent, facts.result or {}
    found = [
        ("accuracy, recent steps", number(recent["implicit_accuracy"]) if "implicit_accuracy" in recent else None),
        ("loss, recent steps", number(recent["loss"]) if "loss" in recent else None),
        ("pairs per second", number(recent["pairs_per_second"]) if "pairs_per_second" in recent else None),
        ("peak memory", size(recent["memory"]) if "memory" in recent else None),
        ("pairs", number(result["pairs"]) if isinstance(result.get("pairs"), int) else None),
        ("time", duration(result["seconds"]) if isinstance(result.get("seconds"), int | float) else None),
    ]
    return [(name, text) for name, text in found if text is not None]


def _film(store: Store, facts: RunFacts) -> Film | None:
    steps = facts.samples
    if not steps:
        return None
    run_id, last = facts.plan.run_id, len(steps) - 1
    count = min(_MOST_COLUMNS, len(steps))
    shown = [steps[index * last // max(1, count - 1)] for index in range(count)]
    try:
        samples = list_samples(store, run_samples_key(run_id, shown[0]))
        pixelated = are_small(store, run_samples_key(run_id, shown[0]))
    except (PairsieveError, ApiProblem):
        return None
    rows = [(each.prompt, each.seed, [sample_address(run_id, step, each.index) for step in shown]) for each in samples]
    return Film(shown, steps, rows, pixelated)


def _folder(store: Store, facts: RunFacts) -> str | None:
    """Where the model lies that a run ended with, on this machine or as an address of the store; None without one."""
    output = (facts.result or {}).get("output")
    return f"{store.uri}/{output}" if isinstance(output, str) else None


def _is_ours(store: Store, ref: str) -> bool:
    """Whether a subset is one of this store, which has a page for it, and none that was fetched from another."""
    try:
        return isinstance(find_subset(store, ref), Subset)
    except PairsieveError:
        return False


def _judges(store: Store, facts: RunFacts) -> dict[str, Judge]:
    """The judges of the newest evaluation that has some, by name."""
    for value in reversed(facts.evaluations):
        if found := read_evaluation(store, {"judges": value.get("judges")}).judges:
            return {judge.name: judge for judge in found}
    return {}


def _best_judge(store: Store, facts: RunFacts) -> Judge | None:
    """The first judge of the latest evaluation, or None."""
    return next(iter(_judges(store, facts).values()), None)
