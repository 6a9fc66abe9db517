"""The Celery tasks of this floor. They carry ids, look everything else up in the store, and ignore what is
not in it."""

# mypy: disable-error-code="untyped-decorator"

from functools import lru_cache, partial

from celery import shared_task
from celery.utils.log import get_task_logger

from ranking.errors import PairsieveError
from ranking.plan import find_slice, get_plan
from ranking.settings import load_settings
from ranking.store.blobs import Store
from workers.attempts import one_line
from workers.celery_app import ADVANCE, RECONCILE, SCORE_SLICE
from workers.committees import committee_for
from workers.drive import score_one
from workers.publish import Publisher
from workers.reconcile import reconcile
from workers.schedule import advance_schedules
from workers.scorers.registry import choose, resolve

logger = get_task_logger(__name__)


@shared_task(name=SCORE_SLICE)
def score_slice(job_id: str, unit: str) -> None:
    """Run one slice of a job through every scorer that has not committed it."""
    store = open_store()
    try:
        plan = get_plan(store, job_id)
        piece = find_slice(plan, unit)
    except PairsieveError as error:
        logger.warning("Ignored: %s", error)
        return
    try:
        for scorer_id in plan.scorer_ids:
            choose(scorer_id, store=store)
    except PairsieveError as error:  # not an attempt: a worker with the plan's weights may come
        logger.error("Left job %s to other workers: %s", job_id, error)
        return
    try:
        outcome = score_one(store, plan, piece, partial(committee_for, store=store))
    except Exception as error:
        # Swallowed for Celery only: the attempt says it, and the reconciler tries again or gives the slice
        # up.
        logger.error("Slice %s of job %s failed: %s", unit, job_id, one_line(error))
        return
    if outcome.report is not None:
        logger.info("%s", outcome.report.line())
    else:
        logger.info("Slice %s of job %s is %s %s", unit, job_id, outcome.state, outcome.detail)


@shared_task(name=RECONCILE)
def reconcile_store() -> None:
    """Look for open work that nobody is at, and publish it."""
    store = open_store()
    report = reconcile(store, Publisher(store))
    if not report.quiet:
        logger.info("%s", report)


@shared_task(name=ADVANCE)
def advance() -> None:
    """Take the open ticks of the schedules as far as they go now."""
    store = open_store()
    for state in advance_schedules(store, Publisher(store), partial(resolve, store=store)):
        logger.info("Schedule %s is %s: %s", state.schedule, state.state, state.detail)


def open_store() -> Store:
    """The store of the settings, proved once in a process."""
    return _open(load_settings().store)


@lru_cache(maxsize=4)
def _open(uri: str) -> Store:
    return Store.open(uri)
