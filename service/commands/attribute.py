"""`pairsieve attribute`: which of its pairs a run took up, which of them helped, and what is known of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.commands.options import Json, open_store

if TYPE_CHECKING:
    from training.evaluation.attribution import Attribution, Group
    from training.intervals import Estimate


def register(app: typer.Typer) -> None:
    app.command("attribute")(attribute)


def attribute(
    run: Annotated[str, typer.Argument(help="Id of a finished run.", show_default=False)],
    held_out: Annotated[
        str | None,
        typer.Option(
            help="Subset of unseen pairs that tell who helped. [default: the dataset's, of prompts that the run's "
            "subset does not have]",
            show_default=False,
        ),
    ] = None,
    draws: Annotated[int, typer.Option(min=1, max=1000, help="Timesteps and noises a pair.")] = 10,
    limit: Annotated[int, typer.Option(min=0, help="Pairs to print from either end.")] = 5,
    to: Annotated[
        Path | None,
        typer.Option(help="Write all pairs to a new file: .parquet, .csv or .jsonl.", show_default=False),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, mps.")] = "auto",
    json: Json = False,
) -> None:
    """Say of each pair that a run was trained on what the run made of it: whether its order was learnt, what became of
    winner and loser, and whether it asks for the same as pairs that the run never saw; beside the metric and the
    scorers that chose it."""
    from ranking.exchange.files import check_new, write_table
    from service.console import print_json, say, stage_bars
    from training.blocks import HeldOutConfig
    from training.evaluation.attribution import attribute as look
    from training.evaluation.attribution import goes_with, groups

    if to is not None:
        check_new(to)
    asked = HeldOutConfig(draws=draws) if held_out is None else HeldOutConfig(subset=held_out, draws=draws)
    with stage_bars(quiet=json) as stage:
        found = look(open_store(), run, wanted=asked, device=device, progress=stage)
    if to is not None:
        write_table(to, found.table)
    if json:
        facts = {name: getattr(found, name) for name in ("run_id", "subset", "held_out", "held_out_pairs", "draws")}
        pairs = found.table.to_pylist()
        print_json(facts | {"groups": groups(found), "goes_with": goes_with(found), "pairs": pairs})
        return
    _print(found, groups(found), goes_with(found), limit=limit)
    if to is not None:
        say(f"All {len(found.table):,} pairs are in {to}.")


def _print(found: Attribution, parts: list[Group], against: list[Any], *, limit: int) -> None:
    from service.console import out, print_table, say

    print_table(
        f"run {found.run_id}, {found.draws} draws a pair",
        ["ranks", "pairs", "learnt (95 %)", "margin", "winners", "losers", "helped (95 %)"],
        [_row(part) for part in parts],
    )
    if found.held_out is not None:
        say(f"Who helped say {found.held_out_pairs:,} pairs of {found.held_out}.")
    else:
        say("Who helped is not known: there are no unseen pairs of the dataset; name a subset of some with --held-out.")
    out.print()
    print_table(
        "what was known before, and what came of it (Spearman's ρ)",
        ["", "with margin", "with helped"],
        [[name, _number(margin, ".2f"), _number(helped, ".2f")] for name, margin, helped in against],
    )
    by = "helped" if found.held_out else "margin"
    ranked = found.table.sort_by([(by, "descending")])
    for title, rows in (("most", ranked.slice(0, limit)), ("least", ranked.slice(max(0, len(ranked) - limit)))):
        if limit:
            out.print()
            print_table(f"{by} {title}", ["pair", "rank", "metric", by, "±", "margin", "prompt"], _pairs(rows, by))
    say("Why a pair was chosen say `pairsieve rank --explain PAIR` and its page.")
    say("`helped` is an estimate of first order; the proof is a run without these pairs.")


def _row(part: Group) -> list[Any]:
    return [
        f"{part.first:,} – {part.last:,}",
        part.pairs,
        _share(part.learnt),
        *(f"{each.value:+.2g}" for each in (part.margin, part.winner_change, part.loser_change)),
        "" if part.helped is None else _share(part.helped),
    ]


def _share(found: Estimate) -> str:
    return f"{found.value:.0%} ({found.low:.0%} – {found.high:.0%})"


def _pairs(rows: Any, by: str) -> list[list[Any]]:
    return [
        [
            *(row["pair_id"], row["rank"], f"{row['metric']:.4g}"),
            *(f"{row[by]:+.2g}", f"{row[f'{by}_error']:.1g}", f"{row['margin']:+.2g}", row["prompt"]),
        ]
        for row in rows.to_pylist()
    ]


def _number(value: float | None, spec: str) -> str:
    return "" if value is None or value != value else format(value, spec)
