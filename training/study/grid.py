"""A grid of studies: one study repeated over every combination of some of its values, such as datasets of more and more
noise, budgets and training methods. What a study is, is told elsewhere; this only lays them side by side."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ranking.errors import UsageError
from ranking.names import check_name
from ranking.store.blobs import Store
from ranking.studies import filled, study_result
from training.progress import Progress, silent
from training.study.run import plan_of, run_study
from training.study.spec import StudySpec, parse_study, read_study

AXES = "axes"


@dataclass(frozen=True)
class Point:
    """One study of a grid and where it lies: its value on each axis."""

    at: dict[str, Any]
    spec: StudySpec


@dataclass(frozen=True)
class Grid:
    """A named grid: the axes by the dotted place in a study that each moves, with their values, and a study for every
    combination. The last axis moves fastest, and is the one along which results are drawn."""

    name: str
    axes: dict[str, tuple[Any, ...]]
    points: tuple[Point, ...]


def is_grid(path: str | Path) -> bool:
    """Whether a study file holds axes; UsageError if it cannot be read."""
    value = read_study(path)
    return isinstance(value, dict) and AXES in value


def load_grid(path: str | Path) -> Grid:
    """The grid in a YAML or JSON file; UsageError in one line if it cannot be read or does not fit."""
    return parse_grid(read_study(path), where=f"study {path}")


def parse_grid(value: Any, *, where: str = "the study") -> Grid:
    """The grid of a plain JSON value: a study with a map `axes` of dotted keys to lists. UsageError in one line that
    names the axis or the place that does not fit."""
    name = check_name("study", value.get("name"))
    axes = value[AXES]
    if not isinstance(axes, dict) or not axes:
        raise _flaw(where, "axes: it is not a map of keys to lists", "write axes: {budget.percent: [5.33, 20]}")
    for key, values in axes.items():
        if not isinstance(values, list) or not values:
            raise _flaw(where, f"axes.{key}: it is not a list of values", f"write axes: {{{key}: [..]}}")
        if len({json.dumps(each, sort_keys=True) for each in values}) != len(values):
            raise _flaw(where, f"axes.{key}: a value is there twice", "leave one out")
    base = {key: each for key, each in value.items() if key != AXES}
    points = []
    for combination in itertools.product(*axes.values()):
        at = dict(zip(axes, combination, strict=True))
        spec = json.loads(json.dumps(base))
        for key, each in at.items():
            _place(spec, key, each, where=where)
        # Arms that a budget does not touch, such as `all`, are then one subset for every point, and trained once.
        spec |= {"name": "-".join([name, *map(_slug, combination)]), "family": name}
        points.append(Point(at, parse_study(spec, where=where)))
    if len({point.spec.name for point in points}) != len(points):
        raise _flaw(where, "axes: two points would have the same name", "let the values differ in letters or digits")
    return Grid(name, {key: tuple(each) for key, each in axes.items()}, tuple(points))


def run_grid(
    store: Store, grid: Grid, *, part: tuple[int, int] = (0, 1), progress: Progress | None = None
) -> list[dict[str, Any]] | None:
    """Run the studies whose number is `part[0]` modulo `part[1]` (0, 1: all of them), those that are done being read;
    the results of all points in their order, or None while some that are another part's are open."""
    tell = progress or silent
    mine = [point for number, point in enumerate(grid.points) if number % part[1] == part[0]]
    for number, point in enumerate(mine):
        tell("studies", number, len(mine))
        run_study(store, point.spec, progress=tell)
    tell("studies", len(mine), len(mine))
    return grid_results(store, grid)


def grid_results(store: Store, grid: Grid) -> list[dict[str, Any]] | None:
    """The result of every point in its order, or None while some are open."""
    found = [study_result(store, plan_of(store, point.spec)) for point in grid.points]
    return [each for each in found if each is not None] if all(each is not None for each in found) else None


def placed(grid: Grid, results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every result with "at", its value on each axis: the order alone does not survive a reader that sorts keys."""
    return [{"at": point.at} | result for point, result in zip(grid.points, results, strict=True)]


def planned(store: Store, grid: Grid) -> list[tuple[Point, int, int]]:
    """Every point with how many cells of its study are filled, and how many there are."""
    plans = [(point, plan_of(store, point.spec)) for point in grid.points]
    return [(point, len(filled(store, plan)), len(plan.cells)) for point, plan in plans]


def label(value: Any) -> str:
    """A value of an axis as a table or a chart shows it."""
    if isinstance(value, dict):
        return str(value.get("name") or ", ".join(f"{key} {each}" for key, each in value.items()))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _slug(value: Any) -> str:
    return re.sub(r"[^a-z0-9]+", "_", label(value).lower()).strip("_") or "x"


def _place(spec: dict[str, Any], key: str, value: Any, *, where: str) -> None:
    place: Any = spec
    *parents, last = key.split(".")
    for parent in parents:
        place = place.setdefault(parent, {})
        if not isinstance(place, dict):
            raise _flaw(where, f"axes.{key}: {parent} is no map of keys", "name a place by keys with dots between")
    place[last] = value


def _flaw(where: str, what: str, hint: str) -> UsageError:
    return UsageError(f"{where} does not fit, {what}", code="bad-study", hint=hint)


def parse_part(text: str) -> tuple[int, int]:
    """ "2/4", the second of four parts, as (1, 4); UsageError for anything else."""
    found = re.fullmatch(r"([1-9]\d*)/([1-9]\d*)", text)
    if found is None or int(found[1]) > int(found[2]):
        raise UsageError(f"the part {text!r} is not one of so many", hint="write for example --part 1/2")
    return int(found[1]) - 1, int(found[2])


def table(grid: Grid, results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row per point, arm and judge: {"at": {axis: label}, "arm", "role", "pairs", "judge", "value", "low", "high",
    "seeds", "over_random", "circular"}, as `training.study.result` has them."""
    rows = []
    for point, result in zip(grid.points, results, strict=True):
        at = {key: label(each) for key, each in point.at.items()}
        for arm in result["arms"]:
            pairs = int(next(iter(arm["pairs"].values())))
            for judge, found in arm["judged"].items():
                rows.append(
                    {"at": at, "arm": arm["name"], "role": arm["role"], "pairs": pairs, "judge": judge, **found}
                )
    return rows
