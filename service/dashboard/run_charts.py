"""Which charts a run has, alone and over others: what each shows, what that means, and its legend. The drawing itself
is in `plots`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

from service.dashboard.plots import KINDS, Level, Line, farthest, heat, lines
from service.dashboard.text import number
from service.runs import RunFacts

MOST_COMPARED: Final = len(KINDS)
_LN2: Final = 0.6931471805599453
_AGAINST: Final = "error less the reference's at the same time and noise"


@dataclass(frozen=True)
class Plot:
    """A chart with its title, what it means, and its lines: (kind of line, name, last value) each."""

    title: str
    note: str
    svg: Markup
    legend: tuple[tuple[str, str, float | None], ...] = ()


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
    _Wanted(
        "Margin (logit)",
        ("logit",),
        "what the sigmoid sees, mean over pairs: positive where the order is learnt",
        level=Level(0.0, "undecided"),
    ),
    _Wanted("Spread of margins", ("logit_spread",), "standard deviation over a step's pairs"),
    _Wanted(
        "Gradient factor",
        ("gradient_factor",),
        "mean σ(−logit): near 0 where pairs have nothing more to teach",
        level=Level(0.5, "at the start"),
    ),
    _Wanted("KL proxy", ("kl_proxy",), "mean change of both errors: how far from the reference, in error"),
    _Wanted("Distance of predictions", ("prediction_distance",), "‖ε_θ − ε_ref‖², mean over elements"),
    _Wanted("Gradient norm", ("gradient_norm",), "L2, before clipping"),
    _Wanted(
        "Errors",
        ("winner_error", "loser_error"),
        "denoising errors themselves, mean over a latent's elements",
        labels=("winners", "losers"),
    ),
    _Wanted("Learning rate", ("learning_rate",), "as it was set", smooth=False),
    _Wanted("Throughput", ("pairs_per_second",), "pairs per second, of training steps alone"),
)
_COMPARED: Final = (
    *(each for each in _ONE if len(each.names) == 1 and each.names[0] != "prediction_distance"),
    _Wanted("Winners against the reference", ("winner_change",), f"{_AGAINST}; below 0 is better"),
    _Wanted("Losers against the reference", ("loser_change",), _AGAINST),
)


def plots(facts: RunFacts) -> list[Plot]:
    """The charts of what a run has measured; of two lines only the one that it knows (without losers, the winners')."""
    series = {each.name: each for each in facts.curves.series}
    made = []
    for wanted in _ONE:
        labels = wanted.labels or (wanted.title.lower(),)
        drawn = [Line(label, series[name]) for label, name in zip(labels, wanted.names, strict=True) if name in series]
        if drawn:
            made.append(_plot(wanted, drawn, level=_level(wanted, facts)))
    return made


def overlaid(runs: Sequence[RunFacts]) -> list[Plot]:
    """The charts of what at least two of up to four runs have measured, drawn over each other. A run keeps its kind of
    line from chart to chart, also where it is missing."""
    found = [{each.name: each for each in facts.curves.series} for facts in runs]
    made = []
    for wanted in _COMPARED:
        drawn = [
            Line(facts.plan.run_id[:8], series[wanted.names[0]], kind)
            for facts, series, kind in zip(runs, found, KINDS, strict=False)
            if wanted.names[0] in series
        ]
        if len(drawn) > 1:
            made.append(_plot(wanted, drawn, level=wanted.level))
    return made


def heats(facts: RunFacts) -> list[Plot]:
    """What a run has measured by diffusion time."""
    grids = {grid.name: grid for grid in facts.curves.by_time}
    better = "blue where better than the reference, orange where worse"
    wanted = (
        ("implicit_accuracy", "Accuracy by time", "blue above chance, orange below", 0.5, 0.5, True),
        ("winner_change", "Winners by time", better, 0.0, None, False),
        ("loser_change", "Losers by time", better, 0.0, None, False),
    )
    made = []
    for name, title, note, centre, reach, above in wanted:
        if name in grids:
            far = reach or farthest(grids[name], centre)
            drawn = heat(title, grids[name], centre=centre, reach=far, good_above=above)
            made.append(Plot(title, f"{note}; full colour {number(far)} away", drawn))
    return made


def _plot(wanted: _Wanted, drawn: Sequence[Line], *, level: Level | None) -> Plot:
    svg = lines(wanted.title, drawn, level=level, bounds=wanted.bounds, smooth=wanted.smooth)
    kinds = [line.kind or kind for line, kind in zip(drawn, KINDS, strict=False)]
    legend = [(kind, line.label, line.series.smooth[-1]) for line, kind in zip(drawn, kinds, strict=True)]
    return Plot(wanted.title, wanted.note, svg, tuple(legend))


def _level(wanted: _Wanted, facts: RunFacts) -> Level | None:
    if wanted.title == "Loss" and facts.method in ("dpo", "rpo"):
        return Level(_LN2, "ln 2")
    most = facts.plan.config.get("max_grad_norm")
    if wanted.title == "Gradient norm" and isinstance(most, int | float):
        return Level(float(most), "clipped above")
    return wanted.level
