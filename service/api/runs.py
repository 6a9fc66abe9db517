"""GET /v1/runs: training runs, their metrics and their evaluations."""

from __future__ import annotations

from fastapi import APIRouter

from ranking.runs import list_runs, run_state
from service.api.models import RunDetail, RunList, RunOut
from service.dependencies import NoQuery, PartsDep
from service.runs import read_run

router = APIRouter(prefix="/v1/runs", tags=["runs"])


@router.get("")
def list_(parts: PartsDep, _query: NoQuery) -> RunList:
    """Every run, newest first."""
    runs = [
        RunOut(id=run.run_id, subset=run.subset, state=run_state(parts.store, run.run_id), created=run.created)
        for run in reversed(list_runs(parts.store))
    ]
    return RunList(items=runs)


@router.get("/{run_id}")
def get(run_id: str, parts: PartsDep, _query: NoQuery) -> RunDetail:
    """One run: its config, and what it measured so far."""
    facts = read_run(parts.store, run_id)
    return RunDetail(
        id=facts.plan.run_id,
        subset=facts.plan.subset,
        state=facts.state,
        created=facts.plan.created,
        config=facts.plan.config,
        result=facts.result,
        evaluations=facts.evaluations,
        reason=facts.reason,
        metrics=facts.metrics,
    )
