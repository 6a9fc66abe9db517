"""The page of a grid of studies: what came out of all of them, side by side. The studies tell which values moved, since
a grid's own file stays with whoever wrote it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from fastapi import APIRouter, Request
from markupsafe import Markup
from starlette.responses import HTMLResponse

from ranking.errors import UnknownNameError
from ranking.studies import Study, list_studies, study_result
from service.dashboard.environment import page
from service.dependencies import PartsDep
from training.study.result import shown

router = APIRouter(include_in_schema=False)

_UNMOVED: Final = ("name", "family")
_ALONG: Final = "budget"


@dataclass(frozen=True)
class GridRow:
    """A study: its values by axis as text, and for each arm (value, interval, circular), None for one that it lacks or
    that has no value."""

    study: Study
    at: list[str]
    cells: list[tuple[str, str, bool] | None]


@dataclass(frozen=True)
class GridTable:
    """What one judge says of all studies."""

    judge: str
    meaning: str
    percent: bool
    panels: list[Markup]
    rows: list[GridRow]


def families(studies: Sequence[Study]) -> dict[str, list[Study]]:
    """The newest study of each name by grid, in the order of the names; a family of one is no grid."""
    newest = {study.name: study for study in studies}
    found: dict[str, list[Study]] = {}
    for study in newest.values():
        if family := study.spec.get("family"):
            found.setdefault(str(family), []).append(study)
    return {family: members for family, members in found.items() if len(members) > 1}


def axes(specs: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """The dotted keys by which specs differ, with the value of each spec. A map whose keys differ moves as a whole. The
    budget comes last, as results are drawn along it; else the axis with the most values."""
    found = {key: values for key, values in _moved(specs) if key.partition(".")[0] not in _UNMOVED}

    def last(key: str) -> tuple[bool, int]:
        return key.partition(".")[0] == _ALONG, len({_text(value) for value in found[key]})

    along = max(found, key=last, default=None)
    return {key: found[key] for key in sorted(found, key=lambda key: key == along)}


@router.get("/studies/grids/{family}")
def grid(request: Request, family: str, parts: PartsDep) -> HTMLResponse:
    """A grid's studies side by side, judge by judge."""
    known = families(list_studies(parts.store))
    if family not in known:
        raise UnknownNameError.among("grid", family, list(known))
    studies = known[family]
    results = [study_result(parts.store, study) for study in studies]
    moved = axes([study.spec for study in studies])
    tables, arms = _tables(family, studies, results, moved)
    return page(
        request,
        "grid.html",
        family=family,
        studies=studies,
        done=sum(result is not None for result in results),
        axes=[(key, _in_order([_label(value) for value in values], values)) for key, values in moved.items()],
        tables=tables,
        arms=arms,
    )


def _tables(
    family: str,
    studies: Sequence[Study],
    results: Sequence[dict[str, Any] | None],
    moved: dict[str, list[Any]],
) -> tuple[list[GridTable], list[tuple[str, str]]]:
    from training.study.grid import Grid, Point, table
    from training.study.grid_charts import arms_of, panels
    from training.study.spec import parse_study

    there = [place for place, result in enumerate(results) if result is not None]
    if not there or not moved:
        return [], []
    points = []
    for place in there:
        at = {key: values[place] for key, values in moved.items()}
        points.append(Point(at, parse_study(studies[place].spec, where=f"study {studies[place].name}")))
    shown_axes = {key: tuple(_unique(values, there)) for key, values in moved.items()}
    drawn = Grid(family, shown_axes, tuple(points))
    found = [result for result in results if result is not None]
    rows = table(drawn, found)
    arms = arms_of(rows)
    orders = [[_label(value) for value in values] for values in shown_axes.values()]
    made = []
    for judge in found[0]["judges"]:
        lines = []
        for place, result in zip(there, found, strict=True):
            by_arm = {arm["name"]: arm["judged"].get(judge["name"]) for arm in result["arms"]}
            cells = [_cell(by_arm.get(arm), judge["form"]) for arm, _ in arms]
            lines.append(GridRow(studies[place], [_label(values[place]) for values in moved.values()], cells))
        lines.sort(key=lambda line: [order.index(at) for order, at in zip(orders, line.at, strict=True)])
        charts = [Markup(panel) for panel in panels(drawn, rows, judge)]
        made.append(GridTable(judge["name"], judge["meaning"], judge["form"] == "share", charts, lines))
    return made, arms


def _cell(found: dict[str, Any] | None, form: str) -> tuple[str, str, bool] | None:
    if found is None or found["value"] is None:
        return None
    interval = f"{shown(found['low'], form)} to {shown(found['high'], form)}"
    return shown(found["value"], form), interval, bool(found["circular"])


def _moved(specs: Sequence[Mapping[str, Any]], prefix: str = "") -> list[tuple[str, list[Any]]]:
    found: list[tuple[str, list[Any]]] = []
    for key in dict.fromkeys(key for spec in specs for key in spec):
        values = [spec.get(key) for spec in specs]
        if len({_text(value) for value in values}) == 1:
            continue
        maps = [value for value in values if isinstance(value, Mapping)]
        if len(maps) == len(values) and len({frozenset(each) for each in maps}) == 1:
            found += _moved(maps, f"{prefix}{key}.")
        else:
            found.append((f"{prefix}{key}", values))
    return found


def _unique(values: Sequence[Any], places: Sequence[int]) -> list[Any]:
    """The different values at these places: numbers by size, all else in the order in which it is met."""
    found = list({_text(values[place]): values[place] for place in places}.values())
    return sorted(found) if all(isinstance(value, int | float) for value in found) else found


def _in_order(labels: Sequence[str], values: Sequence[Any]) -> list[str]:
    known = {_text(value): text for value, text in zip(values, labels, strict=True)}
    return [known[_text(value)] for value in _unique(values, range(len(values)))]


def _label(value: Any) -> str:
    from training.study.grid import label

    return label(value)


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
