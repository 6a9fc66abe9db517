"""The dashboard's pages of training runs: all of them, one of them while it goes on and afterwards, and two beside each
other."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from markupsafe import Markup
from starlette.responses import HTMLResponse

from ranking.errors import PairsieveError
from ranking.runs import list_runs
from ranking.store.blobs import Store
from service.api.runs import row, sample_address
from service.dashboard.environment import page
from service.dashboard.evaluations import flat, read_evaluation
from service.dashboard.plots import Level, Line, heat, lines
from service.dashboard.text import duration, number, size
from service.dependencies import PartsDep
from service.problems import ApiProblem
from service.runs import RunFacts, read_run
from service.samples import are_small, list_samples, run_samples_key
from training.watch.series import Series

router = APIRouter(include_in_schema=False)

_MOST_COLUMNS: Final = 8
_LN2: Final = 0.6931471805599453
_AGAINST: Final = "error less the reference's at the same time and noise"


@dataclass(frozen=True)
class Plot:
    """A chart with its title, what it means, and its lines by name with the last value of each."""

    title: str
    note: str
    svg: Markup
    legend: tuple[tuple[str, float | None], ...] = ()


@dataclass(frozen=True)
class Film:
    """Samples by step: for each prompt and seed (`rows`) one image per step of `steps`; `all_steps` is how many there
    are, of which at most 8 are shown side by side."""

    steps: list[int]
    all_steps: list[int]
    rows: list[tuple[str, int, list[str]]]
    pixelated: bool


@dataclass(frozen=True)
class _Wanted:
    """A chart of one or two series."""

    title: str
    names: tuple[str, ...]
    note: str
    labels: tuple[str, ...] = ()
    level: Level | None = None
    bounds: tuple[float, float] | None = None
    smooth: bool = True


_ONE: Final = (
    _Wanted("Loss", ("loss",), "faint as measured, strong smoothed: random timesteps hide the trend"),
    _Wanted(
        "Implicit accuracy",
        ("implicit_accuracy",),
        "share of training pairs whose order the model has learnt",
        level=Level(0.5, "chance"),
        bounds=(0.4, 1.0),
    ),
    _Wanted(
        "Errors against the reference",
        ("winner_change", "loser_change"),
        f"{_AGAINST}; below 0 is better",
        labels=("winners", "losers"),
        level=Level(0.0, "the reference"),
    ),
    _Wanted("Logit", ("logit",), "positive where the order is learnt", level=Level(0.0, "undecided")),
    _Wanted(
        "Gradient factor",
        ("gradient_factor",),
        "mean σ(−logit): near 0 where pairs have nothing more to teach",
        level=Level(0.5, "at the start"),
    ),
    _Wanted("KL proxy", ("kl_proxy",), "mean change of both errors: how far from the reference"),
    _Wanted("Distance of predictions", ("prediction_distance",), "‖ε_θ − ε_ref‖², mean over elements"),
    _Wanted("Gradient norm", ("gradient_norm",), "before clipping"),
    _Wanted("Errors", ("winner_error", "loser_error"), "denoising errors themselves", labels=("winners", "losers")),
    _Wanted("Learning rate", ("learning_rate",), "as it was set", smooth=False),
    _Wanted("Pairs per second", ("pairs_per_second",), "of training steps alone"),
)
_COMPARED: Final = (
    *(each for each in _ONE if len(each.names) == 1 and each.names[0] != "prediction_distance"),
    _Wanted("Winners against the reference", ("winner_change",), f"{_AGAINST}; below 0 is better"),
    _Wanted("Losers against the reference", ("loser_change",), _AGAINST),
)


@router.get("/runs")
def runs(request: Request, parts: PartsDep) -> HTMLResponse:
    """Every run, newest first."""
    found = [read_run(parts.store, plan.run_id) for plan in reversed(list_runs(parts.store))]
    return page(
        request,
        "runs.html",
        runs=[(facts, row(facts), _best_judge(parts.store, facts)) for facts in found],
        live=any(facts.state == "running" for facts in found),
    )


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
        plots=_plots(facts),
        heats=_heats(facts),
        film=_film(parts.store, facts),
        config=flat(facts.plan.config),
        result=flat(facts.result or {}),
        evaluations=[read_evaluation(parts.store, each) for each in facts.evaluations],
        others=[plan for plan in reversed(list_runs(parts.store)) if plan.run_id != run_id],
    )


@router.get("/runs/{run_id}/compare")
def compare(request: Request, run_id: str, parts: PartsDep, other: Annotated[str, Query(alias="with")]) -> HTMLResponse:
    """Two runs beside each other: what differs in their configs, and their curves in one chart each."""
    first, second = read_run(parts.store, run_id), read_run(parts.store, other)
    one, two = dict(flat(first.plan.config)), dict(flat(second.plan.config))
    changes = [(key, one.get(key), two.get(key)) for key in (one | two) if one.get(key) != two.get(key)]
    return page(
        request,
        "runs_compare.html",
        runs=(first, second),
        rows=(row(first), row(second)),
        judges=(_best_judge(parts.store, first), _best_judge(parts.store, second)),
        changes=changes,
        plots=_overlaid(first, second),
        live=any(each.state == "running" for each in (first, second)),
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


def _plots(facts: RunFacts) -> list[Plot]:
    series = {each.name: each for each in facts.curves.series}
    made = []
    for wanted in _ONE:
        found = [series[name] for name in wanted.names if name in series]
        if len(found) < len(wanted.names):
            continue
        labels = wanted.labels or (wanted.title.lower(),)
        drawn = [Line(label, each) for label, each in zip(labels, found, strict=True)]
        svg = lines(wanted.title, drawn, level=_level(wanted, facts), bounds=wanted.bounds, smooth=wanted.smooth)
        legend = tuple((line.label, line.series.smooth[-1]) for line in drawn)
        made.append(Plot(wanted.title, wanted.note, svg, legend))
    return made


def _overlaid(first: RunFacts, second: RunFacts) -> list[Plot]:
    made = []
    names = (first.plan.run_id[:8], second.plan.run_id[:8])
    one, two = ({each.name: each for each in facts.curves.series} for facts in (first, second))
    for wanted in _COMPARED:
        found: list[Series | None] = [one.get(wanted.names[0]), two.get(wanted.names[0])]
        drawn = [Line(name, each) for name, each in zip(names, found, strict=True) if each is not None]
        if len(drawn) == 2:
            svg = lines(wanted.title, drawn, level=wanted.level, bounds=wanted.bounds, smooth=wanted.smooth)
            made.append(
                Plot(wanted.title, wanted.note, svg, tuple((line.label, line.series.smooth[-1]) for line in drawn))
            )
    return made


def _level(wanted: _Wanted, facts: RunFacts) -> Level | None:
    if wanted.title == "Loss" and facts.method in ("dpo", "rpo"):
        return Level(_LN2, "ln 2")
    most = facts.plan.config.get("max_grad_norm")
    if wanted.title == "Gradient norm" and isinstance(most, int | float):
        return Level(float(most), "clipped above")
    return wanted.level


def _heats(facts: RunFacts) -> list[Plot]:
    grids = {grid.name: grid for grid in facts.curves.by_time}
    wanted = (
        ("implicit_accuracy", "Accuracy by time", "blue above chance, orange below", 0.5, 0.5, True),
        (
            "winner_change",
            "Winners by time",
            "blue where better than the reference, orange where worse",
            0.0,
            None,
            False,
        ),
        (
            "loser_change",
            "Losers by time",
            "blue where better than the reference, orange where worse",
            0.0,
            None,
            False,
        ),
    )
    return [
        Plot(title, note, heat(title, grids[name], centre=centre, reach=reach, good_above=above))
        for name, title, note, centre, reach, above in wanted
        if name in grids
    ]


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


def _best_judge(store: Store, facts: RunFacts) -> Any:
    """The first judge of the latest evaluation, or None."""
    for value in reversed(facts.evaluations):
        judges = read_evaluation(store, {"judges": value.get("judges")}).judges
        if judges:
            return judges[0]
    return None
