"""`pairsieve store audit|gc|pins|pin|unpin`: whether a store is whole, what in it is of no use, what must stay."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.commands.options import Json, open_store, snapshot_to_use

if TYPE_CHECKING:
    from ranking.audit import AuditReport
    from ranking.collection import Ages, Collected, Collection
    from ranking.store.blobs import Store

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_LEAST = 3600.0  # seconds: what is younger may be in the hands of a writer


def register(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help="Check the store, collect what nothing names, pin snapshots.")
    group.command("audit")(audit)
    group.command("gc")(gc)
    group.command("pins")(pins)
    group.command("pin")(pin)
    group.command("unpin")(unpin)
    app.add_typer(group, name="store")


def audit(
    quick: Annotated[bool, typer.Option("--quick", help="Read records and sizes only: hash and open no file.")] = False,
    every: Annotated[
        bool, typer.Option("--all", help="Recompute every snapshot and subset, not only the newest.")
    ] = False,
    json: Json = False,
) -> None:
    """Check the ten invariants of a store, while others may go on writing. Exit code 1 where one does not hold."""
    from ranking.audit import audit as run
    from ranking.errors import StoreError
    from service.console import print_json, stage_bars

    store = open_store()
    with stage_bars(quiet=json) as stage:
        report = run(store, deep=not quick, every=every, progress=stage)
    if json:
        print_json({"ok": report.ok, "deep": report.deep, "looked": report.looked, "findings": report.findings})
    else:
        _print_report(report)
    if not report.ok:
        first = report.errors[0]
        raise StoreError(
            f"{len(report.errors)} flaws in the store, the first: {first.what}", code="damaged", hint=first.todo
        )


def gc(
    delete: Annotated[bool, typer.Option("--delete", help="Do it; without this nothing is changed.")] = False,
    older_than: Annotated[
        str, typer.Option(help="Least age of data that go, such as 7d or 12h; of unfinished files at most 1d.")
    ] = "7d",
    snapshots_older_than: Annotated[
        str | None,
        typer.Option(help="Retire snapshots of this age that no subset and no pin cites.", show_default=False),
    ] = None,
    grace: Annotated[str, typer.Option(help="How long things stay in the trash.")] = "1d",
    restore: Annotated[
        str | None, typer.Option(help="Id of a collection: put back all it has put aside.", show_default=False)
    ] = None,
    listed: Annotated[bool, typer.Option("--list", help="Name every file.")] = False,
    json: Json = False,
) -> None:
    """Show what nothing names any more; with --delete move it to the trash, and delete what has lain there."""
    from ranking.collection import Ages, collect, plan_collection, store_time
    from ranking.collection import restore as put_back
    from service.console import print_facts, print_json, stage_bars

    store = open_store()
    if restore is not None:
        keys = put_back(store, restore)
        print_json({"restored": keys}) if json else print_facts({"restored": len(keys)})
        return
    data = _seconds("--older-than", older_than, least=_LEAST)
    retire = _seconds("--snapshots-older-than", snapshots_older_than, least=_LEAST) if snapshots_older_than else None
    ages = Ages(
        data=data, scratch=min(data, 86_400.0), grace=_seconds("--grace", grace, least=_LEAST), snapshots=retire
    )
    planned = plan_collection(store, now=store_time(store), ages=ages)
    if not delete:
        _print_plan(store, planned, listed=listed, json=json)
        return
    with stage_bars(quiet=json) as stage:
        done = collect(store, planned, progress=stage)
    if json:
        print_json(done)
    else:
        _print_done(done, ages)


def pins(json: Json = False) -> None:
    """List the pins that keep snapshots; subsets keep theirs without one."""
    from dataclasses import asdict

    from ranking.store.refs import list_refs
    from service.console import print_json, print_table

    found = list_refs(open_store())
    if json:
        print_json([asdict(each) for each in found])
    else:
        rows = [[each.kind, each.name, each.snapshot, each.created[:19], each.why] for each in found]
        print_table("pins", ["kind", "name", "snapshot", "created", "why"], rows)


def pin(
    snapshot: Annotated[int, typer.Argument(help="Number of the snapshot to keep.")],
    name: Annotated[str, typer.Option(help="Name of the pin.", show_default=False)],
    kind: Annotated[str, typer.Option(help="What sort of thing needs it.")] = "manual",
    why: Annotated[str, typer.Option(help="A word for those who wonder later.")] = "",
    json: Json = False,
) -> None:
    """Keep a snapshot from being retired by `store gc --snapshots-older-than`."""
    from dataclasses import asdict

    from ranking.store.refs import pin as run
    from service.console import print_facts, print_json

    store = open_store()
    made = asdict(run(store, kind, name, snapshot_to_use(store, snapshot), why=why))
    print_json(made) if json else print_facts(made)


def unpin(
    name: Annotated[str, typer.Argument(help="Name of the pin.")],
    kind: Annotated[str, typer.Option(help="What sort of thing needed it.")] = "manual",
) -> None:
    """Release a pin. The snapshot stays until a collection retires it."""
    from ranking.store.refs import release

    release(open_store(), kind, name)


def _seconds(option: str, text: str, *, least: float) -> float:
    from ranking.errors import UsageError

    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text.strip())
    if found is None:
        raise UsageError(f"{option} {text!r} is not a time", hint="write for example 7d, 12h or 90m")
    seconds = float(found[1]) * _UNITS[found[2]]
    if seconds < least:
        raise UsageError(f"{option} {text} is less than an hour", hint="what is younger may be in a writer's hands")
    return seconds


def _print_report(report: AuditReport) -> None:
    from ranking.audit import INVARIANTS
    from service.console import print_table, say

    rows = []
    for number, title in INVARIANTS.items():
        looked = ", ".join(f"{count:,} {what}" for what, count in report.looked[number].items() if count)
        errors = sum(each.invariant == number for each in report.errors)
        notes = sum(each.invariant == number and each.severity == "note" for each in report.findings)
        rows.append([f"I{number}", title, looked or "nothing", errors, notes])
    print_table("audit" if report.deep else "quick audit", ["", "invariant", "looked at", "errors", "notes"], rows)
    for each in report.findings:
        todo = f"; {each.todo}" if each.todo else ""
        say(f"I{each.invariant} {each.severity}: {each.what} ({each.key}){todo}")


def _print_plan(store: Store, planned: Collection, *, listed: bool, json: bool) -> None:
    from ranking.store.trash import TRASH
    from service.console import print_facts, print_json, print_table

    aside = store.entries(TRASH)
    collections = sorted({entry.key.split("/")[1] for entry in aside})
    kinds = [
        {
            "kind": kind,
            "files": len(found),
            "bytes": sum(each.bytes for each in found),
            "oldest": _date(min(each.modified for each in found)),
        }
        for kind, found in planned.by_kind().items()
    ]
    trash = {"files": len(aside), "bytes": sum(entry.bytes for entry in aside), "collections": collections}
    if json:
        keys = {"keys": [each.key for each in planned.candidates]} if listed else {}
        print_json({"would take": kinds, "trash": trash} | keys)
        return
    columns = ["kind", "files", "bytes", "oldest"]
    print_table("what nothing names", columns, [[row[name] for name in columns] for row in kinds])
    for each in planned.candidates if listed else ():
        print_facts({each.kind: each.key})
    if aside:
        print_facts({"in the trash": f"{len(aside):,} files of {', '.join(collections)}"})
    print_facts({"nothing was changed": "add --delete to do it" if kinds or aside else "there is nothing to do"})


def _print_done(done: Collected, ages: Ages) -> None:
    from service.console import print_facts

    facts: dict[str, Any] = {"taken": f"{done.taken:,} files, {done.taken_bytes:,} bytes"}
    if done.id is not None:
        hours = ages.grace / 3600
        facts["undo"] = f"pairsieve store gc --restore {done.id}, within {hours:g} hours"
    if done.stayed:
        facts["stayed"] = f"{done.stayed:,}, as they were touched, named or taken meanwhile"
    if done.brought_back:
        facts["brought back"] = f"{len(done.brought_back):,}, as something names them by now"
    facts["deleted from the trash"] = f"{done.purged:,} files, {done.purged_bytes:,} bytes"
    print_facts(facts)


def _date(at: float) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M")
