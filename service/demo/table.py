"""The few lines the demo ends with."""

from __future__ import annotations

from service.console import out, print_json, print_table
from service.demo.run import Outcome, facts


def print_outcome(outcome: Outcome, *, json: bool) -> None:
    """The closing table and where the report is; or everything as JSON."""
    if json:
        print_json(facts(outcome))
        return
    out.print()
    print_table(
        "Selection",
        ["", "pairs", "labels right"],
        [
            ["all pairs", outcome.all_labels.pairs, f"{outcome.all_labels.accuracy:.1%}"],
            *(
                [trained.title, trained.subset.rows, f"{trained.accuracy.accuracy:.1%}"]
                for trained in (outcome.control, outcome.best)
            ),
        ],
    )
    out.print()
    print_table(
        f"Training, {outcome.options.steps} steps each, {outcome.best.evaluation.images} images of "
        f"{outcome.best.evaluation.prompts} held-out prompts",
        ["trained on", "judge", "mean", "wins against base", "95 %"],
        _rows(outcome),
    )
    out.print()
    took = sum(outcome.seconds.values())
    out.print(f"{took:.0f} s. Look at [bold]{outcome.report}[/bold]", highlight=False, soft_wrap=True)


def _rows(outcome: Outcome) -> list[list[str]]:
    rows = [
        ["nothing (base)", judge.judge, f"{judge.mean_base:.3f}", "", ""] for judge in outcome.best.evaluation.judges
    ]
    for trained in (outcome.control, outcome.best):
        rows += [
            [
                trained.title,
                judge.judge,
                f"{judge.mean_run:.3f}",
                f"{judge.rate:.1%}",
                f"{judge.low:.1%} – {judge.high:.1%}",
            ]
            for judge in trained.evaluation.judges
        ]
    return rows
