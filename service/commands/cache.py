"""`pairsieve cache list|clear`: what training keeps on this machine so as not to compute it again."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from service.commands.options import Json

_ID_LEAST = 4  # digits of an id; an empty one, as of a shell's unset variable, would begin every id there is


def register(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help="What training keeps on this machine: latents, prompts, references.")
    group.command("list")(list_all)
    group.command("clear")(clear)
    app.add_typer(group, name="cache")


def list_all(json: Json = False) -> None:
    """Show the caches, for which model they are, how large, and when a run used them last."""
    from service.console import out, print_json, print_table
    from training.caches.inventory import list_caches
    from training.caches.places import cache_root, readable

    found = list_caches()
    if json:
        print_json([asdict(cache) | {"folder": str(cache.folder)} for cache in found])
        return
    print_table(
        f"{readable(sum(cache.bytes for cache in found))} below {cache_root()}",
        ["kind", "model", "id", "size", "files", "used"],
        [[c.kind, c.model, c.name[:12], readable(c.bytes), c.files, c.used] for c in found],
    )
    if not found:
        out.print("Nothing is kept yet. A training keeps what its config's `cache` says.")


def clear(
    which: Annotated[
        list[str] | None,
        typer.Argument(help="Ids as listed, or kinds: latents, prompts, reference, features.", show_default=False),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
    json: Json = False,
) -> None:
    """Delete caches. Those that a run is using stay; the next run makes again what it needs."""
    from ranking.errors import PairsieveError, UnknownNameError, UsageError
    from service.console import out, print_json
    from training.caches.inventory import KINDS, clear_cache, list_caches
    from training.caches.places import readable

    if every == bool(which):
        raise UsageError("nothing says which caches are to go", hint="name ids or kinds, or give --all")
    found = list_caches()
    chosen = []
    for wanted in which or []:
        named = len(wanted) >= _ID_LEAST
        matching = [each for each in found if each.kind == wanted or (named and each.name.startswith(wanted))]
        if not matching and wanted not in KINDS:
            raise UnknownNameError.among("cache", wanted, [*KINDS, *(each.name[:12] for each in found)])
        chosen += [each for each in matching if each not in chosen]
    if every:
        chosen = found
    cleared = [each for each in chosen if clear_cache(each)]
    busy = [each for each in chosen if each not in cleared]
    if json:
        print_json({"cleared": [each.name for each in cleared], "in_use": [each.name for each in busy]})
    else:
        gone = "1 cache is" if len(cleared) == 1 else f"{len(cleared)} caches are"
        out.print(f"{gone} gone, {readable(sum(each.bytes for each in cleared))}.")
    if busy:
        raise PairsieveError(
            f"{len(busy)} caches are in use and stay: {', '.join(f'{each.kind} {each.name[:12]}' for each in busy)}",
            code="cache-in-use",
            hint="wait for the runs, or stop them",
        )
