"""`pairsieve subset export`: a subset as a folder that trainers read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from service.commands.options import Json, open_store

if TYPE_CHECKING:
    from ranking.store.blobs import Store
    from ranking.subsets.export.provenance import ScorerFacts


def export(
    ref: Annotated[str, typer.Argument(help="NAME@VERSION, or NAME for the latest.", show_default=False)],
    to: Annotated[
        Literal["parquet", "hf", "jsonl", "webdataset", "uids"],
        typer.Option(
            help="parquet: Pick-a-Pic's columns, for Diffusion-DPO scripts; hf: a folder for `datasets`; "
            "jsonl: lines and a folder of images; webdataset: tar shards; uids: lists of ids, as text and CSV.",
            show_default=False,
        ),
    ],
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="A new or empty folder, or an interrupted export.", show_default=False)
    ],
    images: Annotated[bool, typer.Option(help="Whether images go along.")] = True,
    shard_mb: Annotated[int, typer.Option(min=1, help="MB after which a shard ends.")] = 500,
    strict: Annotated[
        bool, typer.Option("--strict", help="Fail at an image that cannot be read, instead of leaving its pair out.")
    ] = False,
    licence: Annotated[
        str | None, typer.Option(help="Licence of the source dataset, for card and metadata.", show_default=False)
    ] = None,
    json: Json = False,
) -> None:
    """Write a subset to DIR with a card, Croissant metadata and the SHA-256 of every file; go on if interrupted."""
    from ranking.images.fetch import url_fetcher
    from ranking.settings import load_settings
    from ranking.subsets.catalog import get_subset
    from ranking.subsets.export.export import export_subset
    from service.console import print_facts, print_json, progress_bar, say

    store = open_store()
    subset = get_subset(store, ref)
    fetch = url_fetcher(load_settings()) if images else None
    with progress_bar("exporting pairs", quiet=json) as advance:
        report = export_subset(
            store,
            subset,
            folder,
            format=to,
            images=images,
            shard_mb=shard_mb,
            strict=strict,
            licence=licence,
            scorers=scorer_facts(store),
            fetch=fetch,
            progress=advance,
        )
    if json:
        print_json(report)
    else:
        print_facts(
            {
                "folder": report.path,
                "subset": report.subset,
                "pairs": f"{report.pairs:,} of {subset.rows:,}",
                "files": f"{report.files:,} with {report.bytes / 1e6:,.1f} MB",
            }
            | ({"went on after": f"{report.resumed:,} pairs"} if report.resumed else {})
        )
    if report.left_out:
        counts = ", ".join(f"{count:,} {reason}" for reason, count in report.left_out.items())
        first = f"; the first is {report.first_left_out}" if report.first_left_out else ""
        say(f"warning: {sum(report.left_out.values()):,} pairs are left out ({counts}){first}")


def scorer_facts(store: Store) -> dict[str, ScorerFacts]:
    """What the scorers of this machine and store state of their licences and files, by name."""
    from ranking.subsets.export.provenance import UNKNOWN, ScorerFacts
    from workers.scorers.registry import specs

    return {
        name: ScorerFacts(
            spec.licence or UNKNOWN,
            spec.weights_licence or (UNKNOWN if spec.assets else "no weights"),
            tuple((asset.source or asset.name, asset.sha256 or "") for asset in spec.assets),
        )
        for name, spec in specs(store).items()
    }
