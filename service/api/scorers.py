"""GET /v1/scorers: whose scores the newest snapshot holds, and what to know of them before ranking by them."""

from __future__ import annotations

from fastapi import APIRouter

from ranking.features.tallies import warnings_of
from ranking.store.snapshots import Snapshot
from service.api.models import ScorerList, ScorerOut, TallyOut, WarningOut
from service.dependencies import NoQuery, ViewDep
from service.snapshots import View

router = APIRouter(prefix="/v1/scorers", tags=["scorers"])


@router.get("")
def list_(view: ViewDep, _query: NoQuery) -> ScorerList:
    """Every scorer of the newest snapshot: how much it scored and did not, the usual range of its scores, and
    warnings, such as that it says the same of every image."""
    snapshot = view.snapshot
    if snapshot is None:
        return ScorerList(items=[], snapshot=None)
    return ScorerList(items=[_out(view, snapshot, name) for name in snapshot.scorers], snapshot=snapshot.n)


def _out(view: View, snapshot: Snapshot, name: str) -> ScorerOut:
    scorer_id = snapshot.scorers[name]
    members = [member for member in snapshot.members if member.scorer_id == scorer_id]
    tallies = {table.dataset: table.tallies[name] for table in view.tables.values()}
    return ScorerOut(
        name=name,
        scorer_id=scorer_id,
        kind="imported" if scorer_id in view.imported else "computed",
        units=len(members),
        rows=sum(member.rows for member in members),
        bad_rows=sum(member.n_bad for member in members),
        scales={table.dataset: list(table.scales[name]) for table in view.tables.values() if name in table.scales},
        tallies={
            dataset: TallyOut(scored=found.scored, low=found.low, high=found.high, without=found.without)
            for dataset, found in tallies.items()
            if found.scored or found.without
        },
        warnings=[
            WarningOut(dataset=dataset, code=warning.code, message=warning.message, todo=warning.todo)
            for dataset, found in tallies.items()
            for warning in warnings_of({name: found}, dataset=dataset)
        ],
    )
