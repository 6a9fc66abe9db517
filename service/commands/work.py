"""`pairsieve up`, `worker`, `beat` and `schedule`: the processes that do the work, and what they do every so
often."""

from __future__ import annotations

import os
import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.commands.options import Json, open_store, split_names

if TYPE_CHECKING:
    from ranking.schedules import Schedule
    from ranking.settings import Settings
    from ranking.store.blobs import Store

schedules = typer.Typer(help="Score, cut and train again every so often.", no_args_is_help=True)

LogLevel = Annotated[str, typer.Option(help="debug, info, warning or error.")]

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def register(app: typer.Typer) -> None:
    app.command("up")(up)
    app.command("worker")(worker)
    app.command("beat")(beat)
    schedules.command("add")(schedule_add)
    schedules.command("list")(schedule_list)
    schedules.command("remove")(schedule_remove)
    app.add_typer(schedules, name="schedule")


def up(
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Port of the API; 0 picks one. [default: $PAIRSIEVE_PORT, else 8765]"),
    ] = None,
    log_level: LogLevel = "info",
) -> None:
    """Run everything on this machine: API and dashboard, one worker, and the clock of the schedules.

    Needs no Redis. Ctrl-C ends all of it; work in hand is taken up again by the next start.
    """
    from ranking.settings import load_settings
    from service.console import say
    from service.security import check_bind
    from service.supervisor import Supervisor
    from service.up import Announcer, free_port, programs

    settings = load_settings()
    check_bind(settings.host)
    check_work(settings)
    port = free_port(settings.host, settings.port if port is None else port)
    announcer = Announcer(settings.host, port, lambda url: say(f"Pairsieve is at {url} (Ctrl-C ends it)"))

    def write(name: str, line: str) -> None:
        sys.stdout.write(f"{name:<6} | {line}\n")
        sys.stdout.flush()  # also into a file: the last lines matter most when something is killed

    Supervisor(programs(settings.host, port, check_level(log_level)), write).run(announcer.look)
    say("Pairsieve has ended.")


def worker(
    queues: Annotated[
        str, typer.Option(help="What to take, by comma: control (short), score, train.")
    ] = "control,score,train",
    name: Annotated[
        str | None, typer.Option(help="Its name to Celery, before @host. [default: a random one]", show_default=False)
    ] = None,
    log_level: LogLevel = "info",
) -> None:
    """Take work until told to stop. Start as many as there are devices; they share it.

    With PAIRSIEVE_BROKER=redis://:password@host:6379/0 on several machines, without it on this one. SIGTERM
    finishes the slice in hand, SIGQUIT gives it back.
    """
    from ranking.errors import UnknownNameError
    from ranking.names import check_name
    from ranking.settings import load_settings
    from service.up import worker_command
    from workers.celery_app import QUEUES

    check_work(load_settings())
    names = split_names(queues)
    for queue in names:
        if queue not in QUEUES:
            raise UnknownNameError.among("queue", queue, QUEUES)
    if name is not None:
        check_name("worker", name)
    become(worker_command(check_level(log_level), names, name=name))


def beat(log_level: LogLevel = "info") -> None:
    """Run the clock: it asks workers to act on due schedules and to look for work that was lost. Two do no
    harm."""
    from ranking.settings import load_settings
    from service.up import beat_command

    check_work(load_settings())
    become(beat_command(check_level(log_level)))


def schedule_add(
    name: Annotated[str, typer.Argument(help="What to call it; an earlier one of that name is replaced.")],
    dataset: Annotated[str, typer.Option(help="The dataset to score.", show_default=False)],
    scorers: Annotated[str, typer.Option(help="Scorers, by comma.", show_default=False)],
    every: Annotated[str, typer.Option(help="How often: 90s, 15m, 6h, 1d, 2w.")] = "1d",
    source: Annotated[
        str | None,
        typer.Option(help="File or folder, here or remote, to ingest what is new from, first.", show_default=False),
    ] = None,
    recipe: Annotated[
        Path | None, typer.Option(help="Recipe of the subset to cut when all is scored.", show_default=False)
    ] = None,
    train: Annotated[
        Path | None,
        typer.Option(help="Training config; trains when the subset's pairs changed.", show_default=False),
    ] = None,
    set: Annotated[
        list[str] | None,
        typer.Option("--set", help="key=value laid over the training config; trains too.", show_default=False),
    ] = None,
    json: Json = False,
) -> None:
    """Add a schedule. Its first tick comes at once, the others every so often from then, while a clock
    runs."""
    from ranking.datasets import get_dataset
    from ranking.errors import UsageError
    from ranking.ingest.sources import local_path, scheme_of
    from ranking.schedules import Schedule, add_schedule
    from ranking.subsets.recipe import load_recipe
    from service.console import print_json, say
    from workers.scorers.registry import resolve

    store = open_store()
    names = split_names(scorers)
    resolve(names, store=store)
    if source is None:
        get_dataset(store, dataset)
    elif not scheme_of(source):
        source = str(local_path(source))
        if not Path(source).exists():
            raise UsageError(f"source {source} does not exist", hint="check the path")
    rules = load_recipe(recipe) if recipe is not None else None
    if rules is not None and rules.dataset != dataset:
        raise UsageError(f"the recipe is for dataset {rules.dataset}, not {dataset}", hint="correct one of them")
    config: dict[str, Any] | None = None
    if train is not None or set:
        from training.config import load_config

        config = load_config(train, set).model_dump(mode="json")
    added = add_schedule(
        store,
        Schedule(
            name=name,
            every_seconds=seconds_of(every),
            dataset=dataset,
            source=source,
            scorers=tuple(names),
            recipe=rules.canonical() if rules is not None else None,
            train=config,
        ),
    )
    if json:
        print_json(added)
    else:
        say(f"Schedule {added.name} runs every {text_of(added.every_seconds)}, while `up` or `beat` runs.")


def schedule_list(json: Json = False) -> None:
    """Show the schedules, and how far the newest tick of each is."""
    from ranking.schedules import list_schedules
    from service.console import print_json, print_table

    store = open_store()
    rows = [_row(store, schedule) for schedule in list_schedules(store)]
    if json:
        print_json(rows)
        return
    print_table(
        "Schedules",
        ["name", "every", "dataset", "last", "state", "", "next"],
        [
            [
                row["name"],
                text_of(row["every_seconds"]),
                row["dataset"],
                _minute(row["last"]),
                row["state"],
                row["detail"],
                _minute(row["next"]),
            ]
            for row in rows
        ],
    )


def _minute(time: str | None) -> str:
    """A time as a table shows it: UTC, to the minute."""
    return time[:16].replace("T", " ") if time else "–"


def schedule_remove(name: Annotated[str, typer.Argument(help="The schedule.")], json: Json = False) -> None:
    """Remove a schedule. What it made stays."""
    from ranking.schedules import remove_schedule
    from service.console import print_json, say

    remove_schedule(open_store(), name)
    if json:
        print_json({"removed": name})
    else:
        say(f"Schedule {name} is removed.")


def _row(store: Store, schedule: Schedule) -> dict[str, Any]:
    from ranking.settings import load_settings
    from workers.schedule import due_at, tick_state

    state = tick_state(store, schedule.name)
    due = due_at(store, schedule, clock_speed=load_settings().clock_speed)
    return {
        "name": schedule.name,
        "every_seconds": schedule.every_seconds,
        "dataset": schedule.dataset,
        "source": schedule.source,
        "scorers": list(schedule.scorers),
        "subset": schedule.recipe["name"] if schedule.recipe else None,
        "trains": schedule.train is not None,
        "ticks": state.number if state else 0,
        "last": _moment(state.at) if state else None,
        "state": state.state if state else "new",
        "detail": state.detail if state else "",
        "next": _moment(due) if due else None,
    }


def check_work(settings: Settings) -> None:
    """Raise in one line what would otherwise end a child process: the store, or the broker's URL."""
    from ranking.store.blobs import Store
    from workers.celery_app import make_app

    Store.open(settings.store)
    make_app(settings)


def check_level(level: str) -> str:
    """The level itself if Celery and uvicorn know it; else UnknownNameError."""
    from ranking.errors import UnknownNameError

    levels = ("debug", "info", "warning", "error")
    if level not in levels:
        raise UnknownNameError.among("log level", level, levels)
    return level


def become(command: list[str]) -> None:
    """Replace this process by the command, so that signals reach it."""
    sys.stdout.flush()
    os.execv(command[0], command)


def seconds_of(text: str) -> float:
    """Seconds of "90s", "15m", "6h", "1d" or "2w"; a bare number is seconds. UsageError otherwise."""
    from ranking.errors import UsageError

    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhdw]?)", text.strip())
    seconds = float(found[1]) * _UNITS[found[2] or "s"] if found else 0.0
    if not seconds > 0:
        raise UsageError(f"{text!r} is not a length of time", hint="write for example 90s, 15m, 6h, 1d")
    return seconds


def text_of(seconds: float) -> str:
    """The shortest exact text that `seconds_of` reads as these seconds."""
    for unit, size in reversed(_UNITS.items()):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds:g}s"


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
