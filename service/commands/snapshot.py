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
    """Make a snapshot of everything committed so far; the latest one again where nothing is new."""
    from ranking.store.snapshots import create_snapshot
    from service.console import print_facts, print_json

    snapshot = create_snapshot(open_store())
    facts = _facts(snapshot)
    print_json(facts) if json else print_facts(facts)


def list_all(json: Json = False) -> None:
    """List the snapshots, newest last."""
    from ranking.store.snapshots import list_snapshots
    from service.console import print_json, print_table

    rows = [_facts(snapshot) for snapshot in list_snapshots(open_store())]
    if json:
        print_json(rows)
    else:
        columns = ["snapshot", "created", "commits", "datasets", "scorers", "sha256"]
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
        "sha256": snapshot.sha,
    }
