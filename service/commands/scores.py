"""`pairsieve scores import|export`: scores that others computed come in, and scores go out, as tables."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from service.commands.ingest import mapping
from service.commands.options import Json, open_store, snapshot_to_use

if TYPE_CHECKING:
    from ranking.store.blobs import Store


def register(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help="Scores from elsewhere, and for elsewhere.")
    group.command("import")(import_)
    group.command("export")(export)
    app.add_typer(group, name="scores")


def import_(
    files: Annotated[
        list[str],
        typer.Argument(
            help="CSV, Parquet or JSON lines, or folders of them; also s3:// and hf://.", show_default=False
        ),
    ],
    scorer: Annotated[str, typer.Option(help="Name to give the scorer.", show_default=False)],
    dataset: Annotated[str, typer.Option(help="Dataset whose images the scores are of.", show_default=False)],
    columns: Annotated[
        str | None,
        typer.Option(
            help="Columns of the tables, ours=theirs by comma: image_uid=id,prompt=caption,score=value.",
            show_default=False,
        ),
    ] = None,
    allow_unknown: Annotated[
        bool, typer.Option(help="Leave out rows that are of no image and prompt of the dataset, and count them.")
    ] = False,
    json: Json = False,
) -> None:
    """Commit scores that were computed elsewhere, keyed by image and prompt or by pair; stop and go on at will."""
    from ranking.exchange.imports import READING, ImportReport, import_scores
    from service.console import print_facts, print_json, stage_bars
    from workers.scorers.registry import specs

    mapped = mapping(columns) if columns is not None else {}
    store = open_store()
    with stage_bars(quiet=json, units={READING: "bytes"}) as stage:
        report: ImportReport = import_scores(
            store,
            files,
            dataset=dataset,
            scorer=scorer,
            columns=mapped,
            allow_unknown=allow_unknown,
            installed=specs(store),
            progress=stage,
        )
    if json:
        print_json(report)
        return
    without = ", ".join(f"{count:,} {status}" for status, count in report.without.items())
    print_facts(
        {
            "scorer": report.scorer_id,
            "dataset": report.dataset,
            "rows read": report.rows,
            "rows of no item": report.unknown_rows,
            "scores": report.scores,
            "without score": without or "none",
            "units": f"{report.units_committed} committed, {report.units_known} known, {report.units_unnamed} left out",
        }
    )
    if report.stands != report.scorer_id:
        print_facts(
            {
                "not in use": f"snapshots use {report.stands}, which has as many rows or more; "
                "import under another name to use these"
            }
        )
    elif report.units_committed:
        print_facts({"next": "pairsieve snapshot create"})


def export(
    dataset: Annotated[str, typer.Argument(help="Name of the dataset.", show_default=False)],
    scorer: Annotated[str, typer.Option(help="Name of the scorer.", show_default=False)],
    to: Annotated[Path, typer.Option(help="A new file: .parquet, .csv or .jsonl.", show_default=False)],
    by: Annotated[
        Literal["item", "pair"], typer.Option(help="A row for each image and prompt, or for each pair.")
    ] = "item",
    snapshot: Annotated[int | None, typer.Option(help="Number of the snapshot; the latest if not given.")] = None,
    json: Json = False,
) -> None:
    """Write the scores of one scorer as a table, which `scores import` reads back bit for bit."""
    from ranking.exchange.exports import export_scores
    from service.console import print_facts, print_json, progress_bar

    store = open_store()
    with progress_bar("writing scores", quiet=json) as advance:
        report = export_scores(
            store, snapshot_to_use(store, snapshot), dataset, scorer=scorer, to=to, by=by, progress=advance
        )
    if json:
        print_json(report)
    else:
        print_facts({"file": report.path, "scorer": report.scorer_id, "rows": report.rows, "scores": report.scores})


def imported_rows(store: Store | None) -> list[dict[str, Any]]:
    """What was imported into the store, one row for each scorer id and dataset."""
    from ranking.exchange.records import list_imports
    from ranking.names import scorer_name

    return [
        {
            "scorer": scorer_name(each.scorer_id),
            "kind": "imported",
            "id": each.scorer_id,
            "dataset": each.dataset,
            "rows": sum(file.rows for file in each.files),
            "files": ", ".join(file.uri.rpartition("/")[2] for file in each.files),
            "created": each.created,
        }
        for each in (list_imports(store) if store else ())
    ]
