"""`pairsieve scorers`: which scorers there are and under which terms, and their weights fetched."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.commands.options import Json, store_if_any

if TYPE_CHECKING:
    from workers.scorers.base import ScorerSpec
    from workers.scorers.files.locks import Lock
    from workers.scorers.files.pull import Survey
    from workers.scorers.standing import Standing
    from workers.scorers.weights import Asset

_WIDE, _WIDER = 110, 140  # columns of a terminal that has room for ranges, and for what scorers see

group = typer.Typer(help="List the scorers there are, and fetch their weights.", invoke_without_command=True)


def register(app: typer.Typer) -> None:
    group.callback()(list_)
    group.command("show")(show)
    group.command("pull")(pull)
    app.add_typer(group, name="scorers")


def list_(context: typer.Context, json: Json = False) -> None:
    """List the scorers that are installed here, trained into the store or imported into it, and fetch weights."""
    from service.commands.scores import imported_rows
    from service.console import out, print_json, print_table, waiting
    from workers.scorers.installed import installed
    from workers.scorers.registry import specs
    from workers.scorers.standing import standing

    if context.invoked_subcommand is not None:
        return
    store = store_if_any()
    with waiting("looking at weights", quiet=json):
        found = [standing(spec) for spec in specs(store).values()]
    imported = imported_rows(store)
    if json:
        kinds = {False: "trained", True: "installed"}
        own = installed().specs
        print_json([*(_facts(each) | {"kind": kinds[each.spec.name in own]} for each in found), *imported])
    else:
        columns = ["scorer", "id here", "size", "licence of code, weights", "use", "range", "sees"]
        columns = columns[: 5 if out.width < _WIDE else 6 if out.width < _WIDER else 7]
        print_table("scorers", columns, [_row(each)[: len(columns)] for each in found])
        if imported:
            names = ["scorer", "id", "dataset", "rows", "files"]
            print_table("imported into the store", names, [[row[name] for name in names] for row in imported])
        _tell_more(found)
    _tell_of_problems()


def show(
    names: Annotated[list[str], typer.Argument(help="Scorers, as `pairsieve scorers` lists them.", show_default=False)],
    json: Json = False,
) -> None:
    """Show all that is known of some scorers: id, licences, files and their pins, what they see and cost."""
    from service.console import out, print_facts, print_json
    from workers.scorers.standing import standing

    found = [standing(spec) for spec in _chosen(names)]
    if json:
        print_json([_facts(each) for each in found])
        return
    for each in found:
        facts = _facts(each)
        files = facts.pop("files")
        spoken = {key.replace("_", " "): _spoken(value) for key, value in facts.items() if value not in ("", None, [])}
        print_facts(spoken)
        for file in files:
            size = f", {file['bytes']:,} bytes" if file["bytes"] else ""
            print_facts(
                {
                    "file": f"{file['file']}: {file['state']}{size}",
                    "  from": file["source"] or file["path"] or "you: nobody offers it at an address",
                    "  fixed by": f"{file['fixed_by']}{', sha256 ' + file['sha256'] if file['sha256'] else ''}",
                }
            )
        out.print()


def pull(
    names: Annotated[
        list[str] | None, typer.Argument(help="Scorers whose weights to fetch.", show_default=False)
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="The weights of every scorer.")] = False,
    json: Json = False,
) -> None:
    """Fetch the weights that are missing here, verify them, and go on where an earlier pull was stopped."""
    from ranking.errors import PairsieveError, UsageError
    from service.console import print_facts, print_json, say, waiting
    from workers.scorers.files.pull import check_room, survey
    from workers.scorers.registry import specs
    from workers.scorers.standing import READY, non_commercial, standing
    from workers.scorers.weights import weights_folder

    if bool(names) == all_:
        raise UsageError("name the scorers to fetch, or all", hint="write `pairsieve scorers pull NAME…` or `--all`")
    chosen = list(specs().values()) if all_ else _chosen(names or [])
    with waiting("looking at weights and their sources", quiet=json):
        found = survey([asset for spec in chosen for asset in spec.assets])
    free = check_room(found) if found.needs else 0
    if not json:
        if found.needs:
            say(f"{_files(len(found.needs))} to fetch, {_size(found.left)}; {_size(free)} free in {weights_folder()}")
        for spec in chosen:
            if non_commercial(spec):
                say(f"{spec.name}: its terms forbid commercial use ({spec.weights_licence or spec.licence}).")
    fetched = _fetch_all(found, chosen, quiet=json)
    stand = [standing(spec) for spec in chosen]
    if json:
        print_json(
            {
                "fetched": [{"file": name, "bytes": count} for name, count in fetched.items()],
                "failed": [{"file": asset.name, "why": str(error)} for asset, error in found.troubles],
                "scorers": [_facts(each) for each in stand],
            }
        )
    else:
        print_facts(
            {
                "fetched": f"{_files(len(fetched))}, {_size(sum(fetched.values()))}",
                "already here": _files(len(found.here)),
                "ready": ", ".join(each.spec.name for each in stand if each.state == READY) or "none",
            }
        )
    if found.troubles:
        first = found.troubles[0][1]
        more = f" (and {len(found.troubles) - 1} more)" if len(found.troubles) > 1 else ""
        raise PairsieveError(first.message + more, code=first.code, hint=first.hint)


def _fetch_all(found: Survey, chosen: Sequence[ScorerSpec], *, quiet: bool) -> dict[str, int]:
    """Fetch what is needed, a bar for each scorer; the bytes of each file by name."""
    from ranking.errors import PairsieveError
    from service.console import err, say, stage_bars
    from workers.scorers.files.pull import fetch

    whose = {asset.name: spec.name for spec in reversed(chosen) for asset in spec.assets}
    totals: dict[str, int] = {}
    for need in found.needs:
        name = whose[need.asset.name]
        totals[name] = totals.get(name, 0) + (need.bytes or 0)
    done = dict.fromkeys(totals, 0)
    fetched: dict[str, int] = {}
    with stage_bars(quiet=quiet, units=dict.fromkeys(totals, "bytes")) as stage:
        for need in found.needs:
            name = whose[need.asset.name]

            def arrived(count: int, name: str = name) -> None:
                stage(name, done[name] + count, max(totals[name], done[name] + count))

            try:
                path = fetch(need, arrived)
            except PairsieveError as error:
                if error.code in ("disk-full", "not-writable"):
                    raise
                found.troubles.append((need.asset, error))
                continue
            fetched[need.asset.name] = path.stat().st_size
            done[name] += path.stat().st_size
            if not quiet and not err.is_terminal:
                say(f"fetched {need.asset.name}, {_size(path.stat().st_size)}")
    return fetched


def _chosen(names: Sequence[str]) -> list[ScorerSpec]:
    from workers.scorers.registry import choose

    store = store_if_any()
    return [choose(name, store=store) for name in dict.fromkeys(names)]


def _facts(stand: Standing) -> dict[str, Any]:
    from workers.scorers.standing import non_commercial, sees
    from workers.scorers.weights import located, locked

    spec = stand.spec
    files = []
    for asset in spec.assets:
        path, lock = located(asset), locked(asset)
        files.append(
            {
                "file": asset.name,
                "state": "missing" if path is None else "wrong" if asset in stand.absent else "here",
                "path": None if path is None else str(path),
                "bytes": asset.bytes or (path.stat().st_size if path else lock.bytes if lock else None),
                "sha256": asset.sha256 or (lock.sha256 if lock else None),
                "fixed_by": _fixed_by(asset, lock),
                "commit": lock.commit if lock else None,
                "source": asset.source,
            }
        )
    return {
        "scorer": spec.name,
        "id": stand.scorer_id,
        "ready": stand.state == "ready",
        "weights": stand.state if spec.assets else "none needed",
        "why": stand.why,
        "summary": spec.summary,
        "range": spec.range,
        "sees": [sees(view) for view in spec.views],
        "licence": spec.licence,
        "weights_licence": spec.weights_licence,
        "non_commercial": non_commercial(spec),
        "parameters": spec.cost.parameters,
        "image_gflops": spec.cost.image_gflops,
        "text_gflops": spec.cost.text_gflops,
        "precision": spec.precision,
        "precisions": list(spec.precisions) if spec.assets else ["fp32"],
        "embedding": spec.embedding.name if spec.embedding else None,
        "to_fetch_bytes": stand.bytes,
        "files": files,
    }


def _fixed_by(asset: Asset, lock: Lock | None) -> str:
    from workers.scorers.files.places import HubFile, place_of

    if asset.sha256:
        return "its pin"
    if lock:
        return f"the {lock.learnt.removeprefix('the ')}"
    if not asset.source:
        return "its package" if asset.path else "the first use"
    place = place_of(asset.source)
    return "its commit" if isinstance(place, HubFile) and place.pinned else "the first pull or use"


def _tell_more(found: Sequence[Standing]) -> None:
    from service.console import say
    from workers.scorers.standing import MISSING, WRONG, non_commercial

    for each in found:
        if each.state == WRONG:
            say(f"{each.spec.name}: {each.why}")
    if any(non_commercial(each.spec) for each in found):
        say("NC: the terms of the code or the weights forbid commercial use.")
    absent = [each.spec.name for each in found if each.state == MISSING]
    if absent:
        say("Size: parameters of towers and heads. Each id is name@ and what stands under `id here`.")
        say(f"Fetch weights with `pairsieve scorers pull {absent[0]}`, or --all; `scorers show NAME` tells more.")


def _tell_of_problems() -> None:
    from service.console import say
    from workers.scorers.installed import installed

    for problem in installed().problems:
        say(f"not used: {problem.text}")


def _row(stand: Standing) -> list[str]:
    from workers.scorers.standing import non_commercial, sees

    spec = stand.spec
    weights = re.split(r"[(;]", spec.weights_licence)[0].strip()  # what more there is to say, `show` says
    return [
        spec.name,
        stand.scorer_id.partition("@")[2] if stand.scorer_id else stand.state,
        f"{_count(spec.cost.parameters):>7}",
        spec.licence if weights in ("", spec.licence) else f"{spec.licence}, {weights}",
        {True: "NC", False: "any", None: "?"}[non_commercial(spec)],
        re.split("; |, (?=mostly|compare)", spec.range)[0],
        "; ".join(sees(view) for view in spec.views),
    ]


def _count(parameters: int) -> str:
    if not parameters:
        return "none"
    return f"{parameters / 1e9:.1f} G" if parameters >= 1e9 else f"{parameters / 1e6:.1f} M"


def _spoken(value: Any) -> Any:
    return (
        "; ".join(map(str, value)) if isinstance(value, list) else f"{value:g}" if isinstance(value, float) else value
    )


def _files(count: int) -> str:
    return f"{count} file{'' if count == 1 else 's'}"


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.1f} GB"
