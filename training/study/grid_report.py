"""Writes what came out of a grid of studies: a page that needs nothing else, a table for a spreadsheet, and all of it
as JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2

from training.study.grid import Grid, label, placed, table
from training.study.grid_charts import arms_of, panels, sheet
from training.study.report import JSON, PAGE, TABLE
from training.study.result import shown

_TEMPLATE = Path(__file__).with_name("grid.html.j2")


def write_grid_report(folder: Path, grid: Grid, results: Sequence[dict[str, Any]]) -> Path:
    """Write report.html, table.csv, result.json and the panels of each judge as SVG into `folder`, over older ones;
    returns the page."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = table(grid, results)
    for judge in results[0]["judges"]:
        drawn = sheet(grid, rows, judge)
        (folder / f"{judge['name'].replace(':', '-')}.svg").write_text(drawn, encoding="utf-8")
    found = {"grid": grid.name, "axes": grid.axes, "studies": placed(grid, results)}
    (folder / JSON).write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    (folder / TABLE).write_text(grid_csv(grid, results), encoding="utf-8")
    (folder / PAGE).write_text(grid_page(grid, results), encoding="utf-8")
    return folder / PAGE


def grid_csv(grid: Grid, results: Sequence[dict[str, Any]]) -> str:
    """One line per point, arm and judge."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    over = ("over_random", "over_random_low", "over_random_high")
    writer.writerow([*grid.axes, "arm", "role", "pairs", "judge", "value", "low", "high", *over, "seeds"])
    for row in table(grid, results):
        more = row["over_random"] or {}
        writer.writerow(
            [
                *row["at"].values(),
                *(row[key] for key in ("arm", "role", "pairs", "judge", "value", "low", "high")),
                *(more.get(key) for key in ("value", "low", "high")),
                " ".join(f"{value:g}" for value in row["seeds"].values() if value is not None),
            ]
        )
    return out.getvalue()


def grid_page(grid: Grid, results: Sequence[dict[str, Any]]) -> str:
    """The report as HTML."""
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"shown": shown, "label": label}
    rows = table(grid, results)
    judges = results[0]["judges"]
    return environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(
        grid=grid,
        judges=judges,
        about=results[0]["study"],
        legend=arms_of(rows),
        charts=[(judge, panels(grid, rows, judge)) for judge in judges],
        rows=pivoted(grid, rows),
        arms=[name for name, _ in arms_of(rows)],
    )


def pivoted(grid: Grid, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One line per judge and point: {"judge", "at": [labels], "arms": {arm: row}}, judge by judge."""
    lines: dict[tuple[str, ...], dict[str, Any]] = {}
    for row in sorted(rows, key=lambda row: row["judge"]):
        at = [row["at"][axis] for axis in grid.axes]
        line = lines.setdefault((row["judge"], *at), {"judge": row["judge"], "at": at, "arms": {}})
        line["arms"][row["arm"]] = row
    return list(lines.values())
