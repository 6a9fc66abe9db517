"""Finds work that is open in the store and nobody is at, and publishes it again. Needs nothing but the
store's memory.

This is what makes a lost message, an emptied Redis or a killed worker cost time only.
"""

import time
from dataclasses import dataclass

from ranking.plan import bury, list_plans
from ranking.runs import bury_run
from ranking.settings import Settings, load_settings
from ranking.store.blobs import Store
from workers.celery_app import SCORE, TRAIN
from workers.due import due_runs, due_slices
from workers.schedule import open_ticks
from workers.sender import Sender

_LOOK_AGAIN = 600.0  # seconds; an audit may take a damaged unit's marker away, but not often
_finished: dict[tuple[str, str], float] = {}
"""(store, job id) of jobs that had nothing left to do, and when that was seen."""


@dataclass(frozen=True)
class ReconcileReport:
    """What one look found: published and given up, and what is open in all."""

    slices_published: int
    runs_published: int
    buried: int
    slices_open: int
    runs_open: int

    @property
    def quiet(self) -> bool:
        """Whether there was nothing to do."""
        return not (self.slices_published or self.runs_published or self.buried)


def reconcile(store: Store, sender: Sender, *, settings: Settings | None = None) -> ReconcileReport:
    """Publish open slices, runs and schedules that nobody has in hand; give up what failed too often."""
    settings = settings or load_settings()
    slices_published = slices_open = buried = 0
    no_slices_wait = sender.depth(SCORE) == 0
    for plan in list_plans(store):
        if time.monotonic() - _finished.get((store.uri, plan.job_id), float("-inf")) < _LOOK_AGAIN:
            continue
        due = due_slices(store, plan, settings, queue_empty=no_slices_wait)
        if not due.open:
            _finished[store.uri, plan.job_id] = time.monotonic()
        for unit, reason in due.bury.items():
            buried += bury(store, plan, unit, reason=reason)
        slices_published += sender.slices(plan, due.publish) if due.publish else 0
        slices_open += due.open
    runs = due_runs(store, settings, queue_empty=sender.depth(TRAIN) == 0)
    for run_id, reason in runs.bury.items():
        buried += bury_run(store, run_id, reason=reason)
    runs_published = sender.runs(runs.publish) if runs.publish else 0
    if open_ticks(store):
        sender.advance()
    return ReconcileReport(slices_published, runs_published, buried, slices_open, runs.open)
