"""Ticks of the schedules: when one is due, and what is left of it to do. Every step may be repeated and
changes nothing then, so two clocks, two workers and any crash are harmless.

    ticks/<schedule>/<number>/due.json        the tick exists: its Unix time          put-if-absent
    ticks/<schedule>/<number>/ingested.json   what the source brought                 put-if-absent
    ticks/<schedule>/<number>/planned.json    the scoring job                         put-if-absent
    ticks/<schedule>/<number>/done.json       snapshot, subset and run, or failed.json with the error
    hints/ticks/<schedule>.json               the last error and how often it came
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from celery.utils.log import get_logger

from ranking.errors import StoreError
from ranking.ingest import ingest
from ranking.names import canonical_json, parse_json
from ranking.plan import create_plan, dead_slices, get_plan, open_slices
from ranking.runs import list_runs, plan_run
from ranking.schedules import Schedule, list_schedules
from ranking.settings import Settings, load_settings
from ranking.store.blobs import Store
from ranking.store.snapshots import create_snapshot
from ranking.subsets.catalog import Subset
from ranking.subsets.foreign import find_subset
from ranking.subsets.recipe import parse_recipe
from ranking.subsets.select import create_subset
from workers.attempts import one_line
from workers.due import due_runs, due_slices
from workers.sender import Sender

logger = get_logger(__name__)

Resolve = Callable[[list[str]], dict[str, str]]


@dataclass(frozen=True)
class TickState:
    """The newest tick of a schedule: its number and Unix time, how far it is, and a line that says more."""

    schedule: str
    number: int
    at: float
    state: Literal["due", "scoring", "done", "failed"]
    detail: str


def due_at(store: Store, schedule: Schedule, *, clock_speed: float) -> float | None:
    """The Unix time of the schedule's next tick; 0.0 (now) before the first, None while one is not finished.

    `clock_speed` schedule seconds pass in a real one: with 86400, a schedule of one day ticks every second.
    """
    last = _last(store, schedule.name)
    if last is None:
        return 0.0
    if not _finished(store, last):
        return None
    return _time(store, last) + schedule.every_seconds / clock_speed


def begin_tick(store: Store, schedule: Schedule, *, clock_speed: float) -> bool:
    """Record a tick if one is due. True if this call did it; of two clocks one wins.

    Ticks keep to the grid that the first one began. Those that nobody was there for become one, because a
    tick works on all that is new since the last.
    """
    due, now = due_at(store, schedule, clock_speed=clock_speed), time.time()
    if due is None or due > now:
        return False
    last = _last(store, schedule.name)
    period = schedule.every_seconds / clock_speed
    at = due + (now - due) // period * period if due else now
    number = int(last.rpartition("/")[2]) + 1 if last else 1
    return store.put_if_absent(f"ticks/{schedule.name}/{number:010d}/due.json", canonical_json({"at": at}))


def open_ticks(store: Store) -> list[str]:
    """The names of schedules whose newest tick is neither done nor failed."""
    return [schedule.name for schedule in list_schedules(store) if _is_open(store, schedule.name)]


def advance_schedules(
    store: Store, sender: Sender, resolve: Resolve, *, settings: Settings | None = None
) -> list[TickState]:
    """Take every open tick as far as it goes now. One that fails says so and does not stop the others."""
    settings = settings or load_settings()
    states = []
    for schedule in list_schedules(store):
        if not _is_open(store, schedule.name):
            continue
        tick = _last(store, schedule.name) or ""
        try:
            _advance(store, schedule, tick, sender, resolve, settings)
        except Exception as error:
            _note_failure(store, schedule.name, tick, one_line(error), settings)
        state = tick_state(store, schedule.name)
        if state is not None:
            states.append(state)
    return states


def tick_state(store: Store, name: str) -> TickState | None:
    """The newest tick of a schedule, or None before the first."""
    tick = _last(store, name)
    if tick is None:
        return None
    number, at = int(tick.rpartition("/")[2]), _time(store, tick)
    for marker in ("done", "failed"):
        record = _marker(store, tick, marker)
        if record is not None:
            return TickState(name, number, at, marker, record["detail"])
    error = _failure(store, name, tick)["error"]
    planned = _marker(store, tick, "planned")
    if planned is None:
        return TickState(name, number, at, "due", error)
    left = len(open_slices(store, get_plan(store, planned["job_id"])))
    return TickState(name, number, at, "scoring", error or f"{left} slices of job {planned['job_id']} are open")


def _advance(store: Store, schedule: Schedule, tick: str, sender: Sender, resolve: Resolve, settings: Settings) -> None:
    source = schedule.source
    if source is not None:

        def bring_in() -> dict[str, Any]:
            report = ingest(store, source, schedule.dataset)
            return {"revision": report.revision, "pairs_added": report.pairs_added}

        _once(store, tick, "ingested", bring_in)

    def make_plan() -> dict[str, Any]:
        scorer_ids = resolve(list(schedule.scorers)).values()
        return {"job_id": create_plan(store, schedule.dataset, scorer_ids).job_id}

    plan = get_plan(store, _once(store, tick, "planned", make_plan)["job_id"])
    due = due_slices(store, plan, settings, queue_empty=False)
    if due.open:
        sender.slices(plan, due.publish)
        return
    dead = len(dead_slices(store, plan))
    detail = f"{dead} slices could not be scored; " if dead else ""
    if schedule.recipe is None:
        _once(store, tick, "done", lambda: {"detail": f"{detail}scored"})
        return
    subset = create_subset(store, parse_recipe(schedule.recipe), create_snapshot(store))
    detail += f"{subset.ref} ({subset.rows} pairs)"
    if schedule.train is not None:
        run_id, new = _training(store, subset, schedule.train)
        detail += f", run {run_id}" if new else f", unchanged since run {run_id}"
        if run_id in due_runs(store, settings, queue_empty=False).publish:
            sender.runs((run_id,))
    _once(store, tick, "done", lambda: {"detail": detail, "subset": subset.ref})


def _training(store: Store, subset: Subset, config: dict[str, Any]) -> tuple[str, bool]:
    """The run of this config on these pairs, and whether it was planned now.

    A subset gets a new version when anything in its snapshot changes; only other pairs are worth a training.
    """
    same = canonical_json(config)
    for run in reversed(list_runs(store)):
        similar = canonical_json(run.config) == same and run.subset.partition("@")[0] == subset.name
        if similar and find_subset(store, run.subset).sha256 == subset.sha256:
            return run.run_id, False
    return plan_run(store, subset.ref, config).run_id, True


def _once(store: Store, tick: str, marker: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The record of a step of a tick, made now unless it exists; whoever was first is right."""
    record = _marker(store, tick, marker)
    if record is None:
        store.put_if_absent(f"{tick}/{marker}.json", canonical_json(make()))
        record = _marker(store, tick, marker) or {}
    return record


def _marker(store: Store, tick: str, marker: str) -> dict[str, Any] | None:
    key = f"{tick}/{marker}.json"
    if not store.exists(key):
        return None
    record: dict[str, Any] = parse_json(store.get(key), where=key)
    return record


def _last(store: Store, name: str) -> str | None:
    """The key of a schedule's newest tick."""
    numbers = store.children(f"ticks/{name}")
    return f"ticks/{name}/{max(numbers)}" if numbers else None


def _time(store: Store, tick: str) -> float:
    return float((_marker(store, tick, "due") or {"at": 0.0})["at"])


def _finished(store: Store, tick: str) -> bool:
    return store.exists(f"{tick}/done.json") or store.exists(f"{tick}/failed.json")


def _is_open(store: Store, name: str) -> bool:
    tick = _last(store, name)
    return tick is not None and not _finished(store, tick)


def _note_failure(store: Store, name: str, tick: str, error: str, settings: Settings) -> None:
    times = _failure(store, name, tick)["times"] + 1
    record = {"tick": tick, "times": times, "error": error}
    store.put_hint(f"hints/ticks/{name}.json", canonical_json(record))
    logger.warning("Schedule %s: %s", name, error)
    if times >= settings.max_attempts:
        _once(store, tick, "failed", lambda: {"detail": error})


def _failure(store: Store, name: str, tick: str) -> dict[str, Any]:
    none = {"tick": tick, "times": 0, "error": ""}
    try:
        record = parse_json(store.get_hint(f"hints/ticks/{name}.json") or b"{}", where="a hint")
    except StoreError:
        return none  # a hint: as good as lost
    return none | record if isinstance(record, dict) and record.get("tick") == tick else none
