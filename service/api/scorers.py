"""GET /v1/scorers: whose scores the newest snapshot holds."""

from __future__ import annotations

from fastapi import APIRouter

from service.api.models import ScorerList, ScorerOut
from service.dependencies import NoQuery, ViewDep

router = APIRouter(prefix="/v1/scorers", tags=["scorers"])


@router.get("")
def list_(view: ViewDep, _query: NoQuery) -> ScorerList:
    """Every scorer of the newest snapshot, with how much it scored and the usual range of its scores."""
    snapshot = view.snapshot
    if snapshot is None:
        return ScorerList(items=[], snapshot=None)
    items = []
    for name, scorer_id in snapshot.scorers.items():
        members = [member for member in snapshot.members if member.scorer_id == scorer_id]
        scales: dict[str, list[float | None]] = {
            table.dataset: list(table.scales[name]) for table in view.tables.values() if name in table.scales
        }
        items.append(
            ScorerOut(
                name=name,
                scorer_id=scorer_id,
                kind="imported" if scorer_id in view.imported else "computed",
                units=len(members),
                rows=sum(member.rows for member in members),
                bad_rows=sum(member.n_bad for member in members),
                scales=scales,
            )
        )
    return ScorerList(items=items, snapshot=snapshot.n)
