"""`pairsieve labels`: what the labels of a dataset say about each other."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.commands.options import Json, open_store

if TYPE_CHECKING:
    from ranking.datasets import Dataset
    from ranking.graph.label_graph import LabelGraph
    from ranking.graph.summary import LabelSummary
    from ranking.store.blobs import Store


def register(app: typer.Typer) -> None:
    app.command("labels")(labels)


def labels(
    dataset: Annotated[str, typer.Argument(help="Name of the dataset.", show_default=False)],
    top: Annotated[int, typer.Option(min=1, help="Raters and models to show.")] = 10,
    json: Json = False,
) -> None:
    """Show what the labels of a dataset say of each other: contradictions, cycles, raters, models, prompts."""
    from ranking.datasets import get_dataset
    from ranking.graph.summary import models, raters
    from service.console import print_facts, print_json, print_table

    store = open_store()
    found = get_dataset(store, dataset)
    graph, counts = look(store, found, quiet=json)
    judges, drawers = raters(store, graph).slice(0, top).to_pylist(), models(store, graph).slice(0, top).to_pylist()
    if json:
        drawers = [{**model, "against": dict(model["against"])} for model in drawers]
        print_json({"summary": asdict(counts), "raters": judges, "models": drawers})
        return
    print_facts(facts(counts))
    if judges:
        print_table(
            "raters, the busiest first",
            ["rater", "pairs", "ties", "image 0 chosen", "on cycles", "compared", "agreement"],
            [
                [
                    row["rater"],
                    f"{row['pairs']:,}",
                    f"{row['ties']:,}",
                    _percent(row["first_share"]),
                    _percent(row["cycle_share"]),
                    f"{row['compared']:,}",
                    _percent(row["agreement"]),
                ]
                for row in judges
            ],
        )
    if drawers:
        rows = [[row["model"], f"{row['pairs']:,}", _percent(row["win_rate"])] for row in drawers]
        print_table("models against other models", ["model", "pairs", "win rate"], rows)


def look(store: Store, dataset: Dataset, *, quiet: bool) -> tuple[LabelGraph, LabelSummary]:
    """The dataset's label graph, built with a progress bar if need be, and its summary."""
    from ranking.graph.label_graph import label_graph
    from ranking.graph.summary import summary
    from service.console import progress_bar

    with progress_bar("comparing labels", quiet=quiet) as advance:
        graph = label_graph(store, dataset, progress=advance)
    return graph, summary(store, dataset, graph)


def facts(counts: LabelSummary) -> dict[str, Any]:
    """A summary as lines to print."""
    verdicts = max(1, counts.pairs - counts.ties)
    return {
        "pairs": f"{counts.pairs:,} under {counts.prompts:,} prompts, {counts.ties / max(1, counts.pairs):.1%} ties",
        "absolute winners": f"{counts.absolute_winners:,} ({counts.absolute_winners / verdicts:.1%} of verdicts)",
        "contradicted": f"{counts.contradicted:,} ({counts.contradicted / verdicts:.1%} of verdicts)",
        "on a cycle": f"{counts.in_cycles:,} ({counts.in_cycles / verdicts:.1%} of verdicts)",
        "prompt clusters": f"{counts.prompt_clusters:,}, near-duplicates taken together",
        "raters": f"{counts.raters:,}"
        + (f", {counts.mean_chain:.1f} pairs in a row on average" if counts.mean_chain else ""),
    }


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.1%}"
