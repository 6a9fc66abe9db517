"""Decides what has to be published now: open work that nobody has in hand and that is not waiting in a queue.

Publishing everything that is open again and again is correct but floods: twice the executions were measured.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from ranking.errors import StoreError
from ranking.names import canonical_json, parse_json
from ranking.plan import Plan, open_slices
from ranking.runs import open_runs, run_attempts
from ranking.settings import Settings
from ranking.store.blobs import Store
from workers.attempts import bury_reason, counted_run_attempts, run_in_hand, standing

RUNS = "runs"
_RETRY_AFTER = 60.0  # seconds between tries of a slice that failed; at most the lease


@dataclass(frozen=True)
class Due:
    """Ids to publish, those to give up with the reason for each, and how many are open in all."""

    publish: tuple[str, ...]
    bury: dict[str, str]
    open: int


def due_slices(store: Store, plan: Plan, settings: Settings, *, queue_empty: bool) -> Due:
    """The units of a plan to publish now.

    A unit that nobody tried since it was published is most likely still in the queue, so it is published
    again only when the queue is empty and a lease has passed: then the message is lost.
    """
    published = publish_times(store, plan.job_id)
    attempted = {key.split("/")[2] for key in store.list(f"attempts/{plan.job_id}")}
    now, lease = time.time(), settings.lease_seconds
    todo: list[str] = []
    give_up: dict[str, str] = {}
    opened = open_slices(store, plan)
    for piece, _ in opened:
        unit = piece.unit
        sent = published.get(unit, 0.0)
        if unit in attempted:
            stands = standing(store, plan, unit, lease_seconds=lease)
            if stands.alive is not None:
                continue
            error = stands.sign.error if stands.sign else ""
            if stands.counted >= settings.max_attempts:
                give_up[unit] = bury_reason(stands.counted, error)
                continue
            if stands.touched >= sent:
                if not error or now - stands.touched >= min(lease, _RETRY_AFTER):
                    todo.append(unit)
                continue
        if not sent or (queue_empty and now - sent >= lease):
            todo.append(unit)
    return Due(tuple(todo), give_up, len(opened))


def due_runs(store: Store, settings: Settings, *, queue_empty: bool) -> Due:
    """The runs to publish now, by the same rule; a run is in hand while it beats."""
    published = publish_times(store, RUNS)
    now, lease = time.time(), settings.lease_seconds
    todo: list[str] = []
    give_up: dict[str, str] = {}
    opened = open_runs(store)
    for run in opened:
        tried = run_attempts(store, run.run_id)
        sent = published.get(run.run_id, 0.0)
        if tried:
            if run_in_hand(store, run.run_id, lease_seconds=lease) is not None:
                continue
            counted = counted_run_attempts(store, run.run_id)
            if counted >= settings.max_attempts:
                give_up[run.run_id] = bury_reason(counted, "")
                continue
            if datetime.fromisoformat(tried[-1].created).timestamp() >= sent:
                todo.append(run.run_id)
                continue
        if not sent or (queue_empty and now - sent >= lease):
            todo.append(run.run_id)
    return Due(tuple(todo), give_up, len(opened))


def publish_times(store: Store, group: str) -> dict[str, float]:
    """When each id of a group (a job, or RUNS) was last published, in Unix time, as far as the hint says."""
    data = store.get_hint(_key(group))
    if data is None:
        return {}
    try:
        return {str(name): float(at) for name, at in parse_json(data, where=_key(group)).items()}
    except (StoreError, AttributeError, TypeError, ValueError):
        return {}


def note_published(store: Store, group: str, ids: Iterable[str]) -> None:
    """Remember that these ids were published now. Two writers at once may forget some: they are published
    again."""
    times = publish_times(store, group) | dict.fromkeys(ids, time.time())
    store.put_hint(_key(group), canonical_json(times))


def _key(group: str) -> str:
    return f"hints/published/{group}.json"
