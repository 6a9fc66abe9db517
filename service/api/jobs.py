"""GET /v1/jobs: scoring jobs and their progress, read from the store's markers."""

from __future__ import annotations

from fastapi import APIRouter

from ranking.plan import Plan, dead_slices, get_plan, list_plans, progress
from ranking.store.blobs import Store
from service.api.models import DeadSlice, JobDetail, JobList, JobOut
from service.dependencies import NoQuery, PartsDep

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])


@router.get("")
def list_(parts: PartsDep, _query: NoQuery) -> JobList:
    """Every scoring job, newest first."""
    return JobList(items=[job_out(parts.store, plan) for plan in reversed(list_plans(parts.store))])


@router.get("/{job_id}")
def get(job_id: str, parts: PartsDep, _query: NoQuery) -> JobDetail:
    """One job, and the slices that were given up with the reason."""
    plan = get_plan(parts.store, job_id)
    dead = [
        DeadSlice(unit=each.unit, reason=each.reason, created=each.created) for each in dead_slices(parts.store, plan)
    ]
    return JobDetail(**job_out(parts.store, plan).model_dump(), dead=dead)


def job_out(store: Store, plan: Plan) -> JobOut:
    """A job as the API shows it. It is done when nothing is left to do, dead if some of that was given up."""
    so_far = progress(store, plan)
    return JobOut(
        id=plan.job_id,
        dataset=plan.dataset,
        revision=plan.revision,
        scorers=list(plan.scorer_ids),
        state="open" if so_far.units_open else "dead" if so_far.units_dead else "done",
        created=plan.created,
        units_total=so_far.units_total,
        units_done=so_far.units_done,
        units_dead=so_far.units_dead,
        items_total=so_far.items_total,
        items_done=so_far.items_done,
    )
