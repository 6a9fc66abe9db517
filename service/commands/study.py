"""`pairsieve study`: several recipes and controls at an equal budget, and what judges say that took no part."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.commands.options import Json, open_store

if TYPE_CHECKING:
    from ranking.studies import Study
    from training.study.grid import Grid, Point

Out = Annotated[
    Path | None,
    typer.Option(help="Write report.html, table.csv and result.json into this folder.", show_default=False),
]


def register(app: typer.Typer) -> None:
    app.command("study")(study)
    app.command("studies")(studies)


def study(
    file: Annotated[Path, typer.Argument(help="The study as YAML or JSON; see docs/study.md.", show_default=False)],
    out: Out = None,
    plan: Annotated[bool, typer.Option("--plan", help="Only say what would be compared.")] = False,
    part: Annotated[
        str | None, typer.Option(help="Of a grid: fill one part of several, such as 1/2.", show_default=False)
    ] = None,
    json: Json = False,
) -> None:
    """Compare recipes and controls at an equal budget; the same command again goes on where it was stopped.

    A file with `axes` is a grid: a study for every combination of their values.
    """
    from ranking.errors import UsageError
    from service.console import print_json, say, stage_bars
    from training.study.grid import is_grid
    from training.study.spec import load_study

    if is_grid(file):
        _grid(file, out=out, plan=plan, part=part, json=json)
        return
    if part is not None:
        raise UsageError(f"study {file} is no grid, so it has no parts", hint="leave --part out")
    spec = load_study(file)
    store = open_store()
    from training.study.run import plan_of, run_study

    if plan:
        planned = plan_of(store, spec)
        print_json(planned) if json else _print_plan(planned)
        return
    with stage_bars(quiet=json) as stage:
        found, result = run_study(store, spec, progress=stage)
    written = _write(out, result)
    if json:
        print_json(result)
        return
    print_result(result)
    say(f"The report is {written}." if written else f"For the report: pairsieve studies {found.name} --out FOLDER")


def studies(
    name: Annotated[str | None, typer.Argument(help="A study, to see its newest result.", show_default=False)] = None,
    id: Annotated[str | None, typer.Option(help="Which one of that name.", show_default=False)] = None,
    out: Out = None,
    json: Json = False,
) -> None:
    """List the studies, or show the result of one."""
    from ranking.errors import NotFoundError
    from ranking.studies import filled, get_study, list_studies, study_result
    from service.console import print_json, print_table, say

    store = open_store()
    if name is None:
        found = list_studies(store)
        if json:
            print_json(list(map(_facts, found)))
            return
        rows = [
            [
                *(each.name, each.id, each.spec["dataset"], each.snapshot.n, len(each.arms)),
                f"{len(filled(store, each))}/{len(each.cells)}",
                each.created[:16].replace("T", " "),
            ]
            for each in found
        ]
        print_table("studies", ["study", "id", "dataset", "snapshot", "arms", "cells", "begun"], rows)
        return
    wanted = get_study(store, name, id)
    result = study_result(store, wanted)
    if result is None:
        done = f"{len(filled(store, wanted))} of {len(wanted.cells)} cells are done"
        raise NotFoundError(f"study {name} has no result yet: {done}", hint="run `pairsieve study` on its file again")
    written = _write(out, result)
    if json:
        print_json(result)
        return
    print_result(result)
    if written:
        say(f"The report is {written}.")


def print_result(result: dict[str, Any]) -> None:
    """A table per judge: each arm's value and interval, its seeds, and how much more than random that is."""
    from service.console import out, print_table
    from training.study.result import pairs_taken, shown

    for judge in result["judges"]:
        name, form = judge["name"], judge["form"]
        rows = []
        for arm in result["arms"]:
            found = arm["judged"][name]
            seeds = {value for value in found["seeds"].values() if value is not None}
            spread = f"{shown(min(seeds), form)}…{shown(max(seeds), form)}" if len(seeds) > 1 else ""
            over = found["over_random"] or {}
            rows.append(
                [
                    f"{arm['name'] if arm['role'] == 'arm' else '· ' + arm['name']}{' *' if found['circular'] else ''}",
                    pairs_taken(arm),
                    *(shown(found["value"], form), _interval(found, form), spread),
                    shown(over["value"], form, signed=True) if over else "",
                    _interval(over, form, signed=True) if over else "",
                ]
            )
        out.print()
        unit = ", percent" if form == "share" else ""
        print_table(f"{name}{unit}", ["arm", "pairs", "", "95 %", "seeds", "over random", "95 %"], rows)
    out.print()
    for line in remarks(result):
        out.print(line, highlight=False, soft_wrap=True, style="dim")


def remarks(result: dict[str, Any]) -> list[str]:
    """What a reader of the table must know."""
    about = result["study"]
    seeds = ", ".join(map(str, about["seeds"]))
    lines = [
        f"95 %: {about['resamples']:,} bootstrap resamples of the prompts, the same for every arm (Wilson's where all "
        "or none are right), not corrected for the number of arms. Where the seed moves an arm, the mean over seeds "
        f"{seeds}, and the smallest and largest of them: the interval does not cover the choice of the seed."
    ]
    if any(found["circular"] for arm in result["arms"] for found in arm["judged"].values()):
        lines.append("* circular: the arm selects by what this judge judges by.")
    lines += [f"{arm['name']}: {note}." for arm in result["arms"] for note in arm["notes"]]
    return lines


def _print_plan(study: Study) -> None:
    import yaml

    from service.console import print_table

    rows = [
        [
            arm["name"],
            arm["role"],
            yaml.safe_dump(arm["recipe"]["metric"], default_flow_style=True, sort_keys=False, width=10_000).strip(),
            " ".join(f"{key} {value}" for key, value in arm["recipe"]["take"].items() if value != "top"),
            len(arm["seeds"]),
        ]
        for arm in study.arms
    ]
    print_table(
        f"{study.name} on snapshot {study.snapshot.n}: {len(study.cells)} cells, judged by "
        + ", ".join(judge["name"] for judge in study.judges),
        ["arm", "role", "metric", "take", "seeds"],
        rows,
    )


def _grid(file: Path, *, out: Path | None, plan: bool, part: str | None, json: bool) -> None:
    from service.console import print_json, say, stage_bars
    from training.study.grid import load_grid, parse_part, placed, planned, run_grid

    grid = load_grid(file)
    share = parse_part(part) if part is not None else (0, 1)
    store = open_store()
    if plan:
        _print_points(grid, planned(store, grid), json=json)
        return
    with stage_bars(quiet=json) as stage:
        results = run_grid(store, grid, part=share, progress=stage)
    if results is None:
        say(f"This part is done; others of {grid.name} are open. The same command without --part makes the report.")
        return
    written = _write_grid(out, grid, results)
    if json:
        print_json({"grid": grid.name, "axes": grid.axes, "studies": placed(grid, results)})
        return
    _print_grid(grid, results)
    if written:
        say(f"The report is {written}.")


def _print_points(grid: Grid, points: list[tuple[Point, int, int]], *, json: bool) -> None:
    from service.console import print_json, print_table
    from training.study.grid import label

    if json:
        print_json([{"at": point.at, "study": point.spec.name, "filled": a, "cells": b} for point, a, b in points])
        return
    rows = [[*map(label, point.at.values()), point.spec.name, f"{a}/{b}"] for point, a, b in points]
    print_table(f"{grid.name}: {sum(b for *_, b in points)} cells", [*grid.axes, "study", "cells"], rows)


def _print_grid(grid: Grid, results: list[dict[str, Any]]) -> None:
    """A table per judge: a line for each point, a column for each arm."""
    from service.console import out, print_table
    from training.study.grid import table
    from training.study.grid_report import pivoted

    rows = table(grid, results)
    arms = list(dict.fromkeys(row["arm"] for row in rows))
    for judge in results[0]["judges"]:
        lines = [
            [*line["at"], *(_cell(line["arms"].get(arm), judge["form"]) for arm in arms)]
            for line in pivoted(grid, rows)
            if line["judge"] == judge["name"]
        ]
        out.print()
        unit = ", percent" if judge["form"] == "share" else ""
        print_table(f"{judge['name']}{unit}", [*(axis.rpartition(".")[2] for axis in grid.axes), *arms], lines)
    out.print()
    for line in remarks(results[0]):
        out.print(line, highlight=False, soft_wrap=True, style="dim")


def _cell(found: dict[str, Any] | None, form: str) -> str:
    from training.study.result import shown

    return f"{shown(found['value'], form)}  {_interval(found, form)}" if found else "–"


def _write_grid(folder: Path | None, grid: Grid, results: list[dict[str, Any]]) -> Path | None:
    if folder is None:
        return None
    from ranking.errors import UsageError
    from training.study.grid_report import write_grid_report

    try:
        return write_grid_report(folder, grid, results)
    except OSError as error:
        raise UsageError(f"the report cannot be written to {folder} ({error.strerror})") from error


def _write(folder: Path | None, result: dict[str, Any]) -> Path | None:
    if folder is None:
        return None
    from ranking.errors import UsageError
    from training.study.report import write_report

    try:
        return write_report(folder, result)
    except OSError as error:
        raise UsageError(f"the report cannot be written to {folder} ({error.strerror})") from error


def _facts(study: Study) -> dict[str, Any]:
    return {
        "name": study.name,
        "id": study.id,
        "dataset": study.spec["dataset"],
        "snapshot": study.snapshot.n,
        "arms": [arm["name"] for arm in study.arms],
        "judges": [judge["name"] for judge in study.judges],
        "created": study.created,
    }


def _interval(found: dict[str, Any], form: str, *, signed: bool = False) -> str:
    from training.study.result import shown

    return f"{shown(found['low'], form, signed=signed)}…{shown(found['high'], form, signed=signed)}"
