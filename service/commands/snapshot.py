"""`pairsieve snapshot create|list|verify`: numbered, hashed lists of what has been scored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.commands.options import Json, open_store, snapshot_to_use

if TYPE_CHECKING:
    from ranking.store.snapshots import Snapshot


def register(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help="Numbered, hashed, immutable lists of committed scores.")
    group.command("create")(create)
    group.command("list")(list_all)
    group.command("verify")(verify)
    app.add_typer(group, name="snapshot")


def create(json: Json = False) -> None:
    """Make a snapshot of everything committed so far, the latest one again where nothing is new, and say how each
    scorer fared."""
    from ranking.features.tallies import warnings_of
    from ranking.features.wide import scorer_tallies
    from ranking.store.snapshots import create_snapshot
    from service.console import print_facts, print_json, print_table, say

    store = open_store()
    snapshot = create_snapshot(store)
    facts = _facts(snapshot)
    if not json:
        print_facts(facts)
    tallies = {dataset: scorer_tallies(store, snapshot, dataset) for dataset in snapshot.datasets}
    warnings = [warning for dataset, found in tallies.items() for warning in warnings_of(found, dataset=dataset)]
    if json:
        print_json(facts | {"tallies": tallies, "warnings": warnings})
        return
    rows = [
        [
            name,
            dataset,
            found.scored,
            "–" if found.low is None else f"{found.low:.4g} to {found.high:.4g}",
            ", ".join(f"{count:,} {reason}" for reason, count in found.without.items()) or "none",
        ]
        for dataset, scorers in tallies.items()
        for name, found in scorers.items()
        if found.scored or found.without
    ]
    if rows:
        print_table("scores", ["scorer", "dataset", "scores", "range", "without"], rows)
    for warning in warnings:
        say(f"warning: {warning.message}; {warning.todo}")


def list_all(json: Json = False) -> None:
    """List the snapshots, newest last."""
    from ranking.store.snapshots import list_snapshots
    from service.console import print_json, print_table

    rows = [_facts(snapshot) for snapshot in list_snapshots(open_store())]
    if json:
        print_json(rows)
    else:
        columns = ["snapshot", "created", "commits", "datasets", "scorers", "flags", "sha256"]
        print_table("snapshots", columns, [[row[column] for column in columns] for row in rows])


def verify(
    number: Annotated[int | None, typer.Argument(help="Number of the snapshot; the latest if not given.")] = None,
    json: Json = False,
) -> None:
    """Hash every file that a snapshot names and say what is wrong."""
    from ranking.errors import StoreError
    from ranking.store.snapshots import verify_snapshot
    from service.console import print_facts, print_json

    store = open_store()
    snapshot = snapshot_to_use(store, number)
    problems = verify_snapshot(store, snapshot)
    if json:
        print_json({"snapshot": snapshot.n, "problems": problems})
    elif not problems:
        print_facts({"snapshot": snapshot.n, "files": len(snapshot.members), "problems": "none"})
    if problems:
        raise StoreError(
            f"snapshot {snapshot.n} has {len(problems)} damaged or missing files, the first: {problems[0]}",
            code="damaged",
        )


def _facts(snapshot: Snapshot) -> dict[str, Any]:
    return {
        "snapshot": snapshot.n,
        "created": snapshot.created[:19],
        "commits": len(snapshot.score_members),
        "datasets": ", ".join(snapshot.datasets),
        "scorers": ", ".join(snapshot.scorers),
        "flags": _flags(snapshot),
        "sha256": snapshot.sha,
    }


def _flags(snapshot: Snapshot) -> str:
    """The flags that a snapshot saw, in words."""
    if snapshot.flags is None:
        return "none"
    marks = sum(pinned.count for pinned in snapshot.flags.marks.values())
    takedowns = snapshot.flags.takedowns.count if snapshot.flags.takedowns else 0
    return f"{marks:,} marks, {takedowns:,} take-downs"
