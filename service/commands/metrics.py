"""`pairsieve metrics`: by what pairs can be ranked, with formulas, options and sources."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.commands.options import Json

if TYPE_CHECKING:
    from ranking.metrics.base import Metric


def register(app: typer.Typer) -> None:
    app.command("metrics")(metrics)


def metrics(
    name: Annotated[str | None, typer.Argument(help="A metric; all if not given.", show_default=False)] = None,
    json: Json = False,
) -> None:
    """List the quality metrics, or show one with its formula, options and source."""
    from ranking.metrics.installed import installed
    from ranking.metrics.registry import known_metric
    from ranking.metrics.registry import metrics as all_metrics
    from service.console import out, print_facts, print_json, print_table, say

    if name is None:
        found = list(all_metrics().values())
        if json:
            print_json([described(metric) for metric in found])
        else:
            rows = [[metric.name, metric.formula, metric.provenance] for metric in found]
            print_table("metrics", ["metric", "formula", "known from"], rows)
        for problem in installed().problems:
            say(problem.text)
        return
    facts = described(known_metric(name))
    if json:
        print_json(facts)
        return
    options = facts.pop("options")
    print_facts(facts)
    out.print()
    rows = [[each["name"], each["default"], each["description"]] for each in options]
    print_table("options", ["option", "default", "what it is"], rows)


def described(metric: Metric) -> dict[str, Any]:
    """What is known of a metric as plain values."""
    from ranking.metrics.base import PROVENANCES
    from ranking.metrics.describe import options_of

    return {
        "name": metric.name,
        "formula": metric.formula,
        "range": metric.range,
        "source": metric.source,
        "known": PROVENANCES[metric.provenance],
        "no metric if": f"the pair has no winner, or {metric.nulls}",
        "options": [vars(option) for option in options_of(metric)],
    }
