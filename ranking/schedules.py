"""Schedules: what should be scored, cut and trained again every so often. Says what, not when the clock
ticks."""

from dataclasses import asdict, dataclass
from typing import Any

from ranking.errors import UnknownNameError, UsageError
from ranking.names import canonical_json, check_name, parse_json, utc_now
from ranking.store.blobs import Store


@dataclass(frozen=True)
class Schedule:
    """Every `every_seconds`: ingest `source` if given, score `dataset`, rebuild the subset of `recipe` if
    given, and train with the config `train` if the subset changed and a config is given."""

    name: str
    every_seconds: float
    dataset: str
    source: str | None
    scorers: tuple[str, ...]
    recipe: dict[str, Any] | None
    train: dict[str, Any] | None


def add_schedule(store: Store, schedule: Schedule) -> Schedule:
    """Record a schedule, replacing an earlier one of that name; the same again changes nothing."""
    check_name("schedule", schedule.name)
    check_name("dataset", schedule.dataset)
    for scorer in schedule.scorers:
        check_name("scorer", scorer.partition(":")[0])  # a precision may follow, as in pickscore-v1:bf16
    if not schedule.every_seconds > 0:
        raise UsageError(f"a schedule cannot run every {schedule.every_seconds} seconds", hint="give a positive number")
    if schedule.train is not None and schedule.recipe is None:
        raise UsageError(f"schedule {schedule.name} trains without a recipe", hint="give it a recipe")
    _append(store, schedule.name, asdict(schedule))
    return get_schedule(store, schedule.name)


def get_schedule(store: Store, name: str) -> Schedule:
    """The schedule of this name; UnknownNameError that lists what exists."""
    found = _latest(store, check_name("schedule", name))
    if found is None:
        raise UnknownNameError.among("schedule", name, [schedule.name for schedule in list_schedules(store)])
    return found


def list_schedules(store: Store) -> list[Schedule]:
    """Every schedule that is not removed, by name."""
    names = sorted({key.split("/")[1] for key in store.list("schedules")})
    return [found for found in (_latest(store, name) for name in names) if found is not None]


def remove_schedule(store: Store, name: str) -> None:
    """Remove a schedule (its history stays); UnknownNameError if there is none of that name."""
    get_schedule(store, name)
    _append(store, name, None)


def _latest(store: Store, name: str) -> Schedule | None:
    keys = store.list(f"schedules/{name}")
    if not keys:
        return None
    spec: dict[str, Any] | None = parse_json(store.get(keys[-1]), where=keys[-1])["schedule"]
    return Schedule(**spec | {"scorers": tuple(spec["scorers"])}) if spec else None


def _append(store: Store, name: str, spec: dict[str, Any] | None) -> None:
    record = {"schedule": spec, "created": utc_now()}
    while True:
        keys = store.list(f"schedules/{name}")
        if keys and canonical_json(parse_json(store.get(keys[-1]), where=keys[-1])["schedule"]) == canonical_json(spec):
            return
        if store.put_if_absent(f"schedules/{name}/{len(keys) + 1:010d}.json", canonical_json(record)):
            return
