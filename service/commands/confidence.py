"""`pairsieve confidence`: how far the labels of a dataset are to be believed, and why one of them is or is not."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.commands.options import Json, open_store

if TYPE_CHECKING:
    from ranking.confidence.reasons import Reasons
    from ranking.confidence.report import Report


def register(app: typer.Typer) -> None:
    app.command("confidence")(confidence)


def confidence(
    dataset: Annotated[str, typer.Argument(help="Name of the dataset.", show_default=False)],
    pair: Annotated[str | None, typer.Option(help="Explain the label of this pair.", show_default=False)] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Write the reliability curve to this SVG file.", show_default=False)
    ] = None,
    snapshot: Annotated[int | None, typer.Option(help="Default: the latest.", show_default=False)] = None,
    top: Annotated[int, typer.Option(min=1, help="Raters to show.")] = 10,
    json: Json = False,
) -> None:
    """Estimate which labels are wrong: weights of scorers, share of wrong labels, worst raters; --pair says why."""
    from ranking.confidence.columns import report_for
    from ranking.confidence.reasons import reasons
    from ranking.errors import NotFoundError, UsageError
    from ranking.features.pairs import PairTable
    from ranking.store.snapshots import get_snapshot, latest_snapshot
    from service.console import print_json, say

    if plot is not None and plot.suffix.lower() != ".svg":
        raise UsageError(f"--plot {plot} is no .svg file", hint=f"write it to {plot.with_suffix('.svg')}")
    store = open_store()
    taken = latest_snapshot(store) if snapshot is None else get_snapshot(store, snapshot)
    if taken is None:
        raise NotFoundError("there is no snapshot yet", hint="make one with `pairsieve snapshot create`")
    table = PairTable(store, taken, dataset)
    why = reasons(table, pair) if pair else None
    report = report_for(table)
    if plot is not None:
        from ranking.confidence.chart import reliability_chart

        try:
            plot.write_text(reliability_chart(dataset, report.predicted, report.voted), encoding="utf-8")
        except OSError as error:
            raise UsageError(f"{plot} cannot be written ({error.strerror})", hint="choose another one") from error
    if json:
        print_json(why or report.as_json())
    elif why:
        _explain(why)
    else:
        _show(report, top)
    if plot is not None and not json:
        say(f"The reliability curve is {plot}.")


def _explain(why: Reasons) -> None:
    from service.console import print_facts, print_table

    print_facts(
        {
            "pair": why.pair_id,
            "winner": f"image {why.winner}",
            "label right": f"{why.confidence:.1%}",
            "image 0 better, without this label": f"{why.preference_0:.1%}",
        }
    )
    rows = [[each.kind, each.text, f"{each.log_odds:+.2f}"] for each in why.reasons]
    total = sum(each.log_odds for each in why.reasons)
    print_table("why, in log-odds that the label is right", ["", "", "adds"], [*rows, ["sum", "", f"{total:+.2f}"]])


def _show(report: Report, top: int) -> None:
    from service.console import print_facts, print_table

    facts = {
        "labels": f"{report.judged:,} of {report.pairs:,} pairs have a winner",
        "estimated wrong": f"{report.wrong:.1%}, of which answers against what was seen: {report.lapse:.1%} of all",
        "calibration error": f"{report.predicted.ece:.3f} at predicting labels from all but themselves",
    }
    if report.voted:
        facts["against votes"] = f"{report.voted.ece:.3f} at predicting shares of votes in {report.voted.pairs:,} pairs"
    if report.few:
        facts["few labels"] = "these say little more than what is usual; the more pairs, the surer"
    print_facts(facts)
    if report.scorers:
        print_table(
            "scorers, by what a usual gap adds to the probit margin of a label",
            ["scorer", "adds", "between folds", "agrees with labels", "pairs"],
            [
                [
                    each.scorer,
                    f"{each.weight:+.3f}" if each.used else "not used: all alike",
                    f"{each.low:+.3f} … {each.high:+.3f}" if each.used else "",
                    "–" if each.agreement is None else f"{each.agreement:.1%}",
                    f"{each.pairs:,}",
                ]
                for each in sorted(report.scorers, key=lambda each: -abs(each.weight))
            ],
        )
    if report.raters:
        print_table(
            "raters of ten labels or more, the least reliable first",
            ["rater", "labels", "agrees with the committee", "expected", "opposite answers"],
            [
                [r.rater, f"{r.pairs:,}", f"{r.agreement:.1%}", f"{r.expected:.1%}", f"{r.lapse:.1%}"]
                for r in report.raters[:top]
            ],
        )
