"""`pairsieve ingest`: register a source of pairs as a dataset."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from service.commands.labels import facts as labels_of
from service.commands.labels import look
from service.commands.options import Json, open_store


def register(app: typer.Typer) -> None:
    app.command("ingest")(ingest)


def ingest(
    source: Annotated[
        str,
        typer.Argument(
            help="A file, or a folder of them: a path, s3://bucket/prefix or hf://datasets/org/name[@revision]/path.",
            show_default=False,
        ),
    ],
    dataset: Annotated[str, typer.Option(help="Name of the dataset; made if there is none.", show_default=False)],
    format: Annotated[str, typer.Option(help="What the files are; docs/ingest.md lists it. auto looks.")] = "auto",
    images: Annotated[
        str | None,
        typer.Option(help="Folder that paths of images start in. [default: SOURCE]", show_default=False),
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(
            help="Columns of a table, ours=theirs by comma: prompt=caption,image_0=left,label=choice.",
            show_default=False,
        ),
    ] = None,
    skip_bad_rows: Annotated[
        bool, typer.Option(help="Leave unusable rows out and count them, instead of refusing the source.")
    ] = False,
    json: Json = False,
) -> None:
    """Add the pairs and ratings of SOURCE to a dataset. Images stay where they are; files that are known add
    nothing."""
    from ranking.datasets import get_dataset
    from ranking.ingest.adapters import Options
    from ranking.ingest.register import ingest as run
    from service.console import print_facts, print_json, progress_bar

    options = Options(images=images, columns=mapping(columns) if columns is not None else {})
    store = open_store()
    with progress_bar("reading files", quiet=json, unit="bytes") as advance:
        report = run(
            store, source, dataset, format=format, options=options, skip_bad_rows=skip_bad_rows, progress=advance
        )
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
        return
    _, counts = look(store, get_dataset(store, dataset), quiet=False)
    print_facts(labels_of(counts))


def mapping(text: str) -> dict[str, str]:
    """The pairs of "ours=theirs,…". UsageError for anything else, or a name that comes twice."""
    from ranking.errors import UsageError

    found: dict[str, str] = {}
    for part in text.split(","):
        ours, equals, theirs = (piece.strip() for piece in part.partition("="))
        if not (ours and equals and theirs) or ours in found:
            raise UsageError(
                f"--columns {text!r} is no mapping, see {part.strip()!r}", hint="write ours=theirs by comma, each once"
            )
        found[ours] = theirs
    return found
