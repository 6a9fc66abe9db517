"""Writes what came out of a study: a page that needs nothing else, a table for a spreadsheet, and all of it as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jinja2
import yaml

from training.study.charts import forest, trade_off
from training.study.result import pairs_taken, shown, to_csv

PAGE, TABLE, JSON = "report.html", "table.csv", "result.json"
_TEMPLATE = Path(__file__).with_name("report.html.j2")


def write_report(folder: Path, result: dict[str, Any]) -> Path:
    """Write report.html, table.csv and result.json into `folder`, over older ones; returns the page."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / JSON).write_text(json.dumps(result, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    (folder / TABLE).write_text(to_csv(result), encoding="utf-8")
    (folder / PAGE).write_text(page(result), encoding="utf-8")
    return folder / PAGE


def page(result: dict[str, Any]) -> str:
    """The report as HTML. Raises jinja2's UndefinedError where the result lacks something."""
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"shown": shown, "pairs": pairs_taken, "recipe": _recipe}
    judges = {judge["name"]: judge for judge in result["judges"]}
    first, *others = judges.values()
    across = judges.get("coverage")
    return environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(
        result=result,
        about=result["study"],
        circular=any(found["circular"] for arm in result["arms"] for found in arm["judged"].values()),
        compared=[arm for arm in result["arms"] if any(found["over_random"] for found in arm["judged"].values())],
        charts=[forest(result, judge) for judge in (first, *others)],
        trade_off=trade_off(result, across, first) if across is not None and across != first else "",
    )


def _recipe(recipe: dict[str, Any]) -> str:
    """The recipe without what it has of the study, as one would write it."""
    kept = {key: value for key, value in recipe.items() if key not in ("name", "dataset", "seed")}
    defaults = {"flags": "exclude", "labels": "human"}
    kept = {key: value for key, value in kept.items() if defaults.get(key) != value}
    return yaml.safe_dump(kept, default_flow_style=True, sort_keys=False, width=10_000).strip()
