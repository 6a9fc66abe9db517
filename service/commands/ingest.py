"""`pairsieve ingest`: register a source of pairs as a dataset."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from service.commands.options import Json, open_store


def register(app: typer.Typer) -> None:
    app.command("ingest")(ingest)


def ingest(
    source: Annotated[Path, typer.Argument(help="A Parquet file, or a folder of them.", show_default=False)],
    dataset: Annotated[str, typer.Option(help="Name of the dataset; made if there is none.", show_default=False)],
    format: Annotated[str, typer.Option(help="auto or pickapic.")] = "auto",
    skip_bad_rows: Annotated[
        bool, typer.Option(help="Leave unusable rows out and count them, instead of refusing the source.")
    ] = False,
    json: Json = False,
) -> None:
    """Add the pairs of SOURCE to a dataset. Images stay where they are; files that are known add nothing."""
    from ranking.ingest.register import ingest as run
    from service.console import print_facts, print_json, progress_bar

    store = open_store()
    with progress_bar("reading rows", quiet=json) as advance:
        report = run(store, source, dataset, format=format, skip_bad_rows=skip_bad_rows, progress=advance)
    if json:
        print_json(report)
        return
    facts = asdict(report)
    facts.pop("revision_sha")
    created = facts.pop("created")
    facts["skipped"] = ", ".join(f"{n:,} {why}" for why, n in report.skipped.items()) or "none"
    print_facts({name.replace("_", " "): value for name, value in facts.items()})
    if not created:
        print_facts({"nothing new": "every file was in the dataset before"})
