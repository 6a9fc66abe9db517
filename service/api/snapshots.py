"""GET /v1/snapshots: every numbered state of the store."""

from __future__ import annotations

from fastapi import APIRouter, Path
from pydantic import BaseModel, Field

from ranking.store.snapshots import Snapshot, get_snapshot, list_snapshots
from service.dependencies import NoQuery, PartsDep

router = APIRouter(prefix="/v1/snapshots", tags=["snapshots"])


class SnapshotOut(BaseModel):
    """A snapshot: what it holds, and how much of it."""

    n: int
    sha: str
    parent: str | None
    created: str
    datasets: dict[str, int] = Field(description="dataset → revision")
    scorers: dict[str, str] = Field(description="scorer name → scorer id")
    commits: int
    rows: int
    bad_rows: int
    marks: dict[str, int] = Field(description="dataset → marks against pairs that stood; none where there is no entry")
    takedowns: int = Field(description="take-downs of images that stood")


class SnapshotList(BaseModel):
    """Every snapshot."""

    items: list[SnapshotOut]


@router.get("")
def list_(parts: PartsDep, _query: NoQuery) -> SnapshotList:
    """Every snapshot, newest first."""
    return SnapshotList(items=[_out(snapshot) for snapshot in reversed(list_snapshots(parts.store))])


@router.get("/{n}")
def get(parts: PartsDep, _query: NoQuery, n: int = Path(ge=1, le=2**31)) -> SnapshotOut:
    """One snapshot."""
    return _out(get_snapshot(parts.store, n))


def _out(snapshot: Snapshot) -> SnapshotOut:
    return SnapshotOut(
        n=snapshot.n,
        sha=snapshot.sha,
        parent=snapshot.parent,
        created=snapshot.created,
        datasets={name: pin.revision for name, pin in snapshot.datasets.items()},
        scorers=snapshot.scorers,
        commits=len(snapshot.score_members),
        rows=sum(member.rows for member in snapshot.score_members),
        bad_rows=sum(member.n_bad for member in snapshot.score_members),
        marks={name: pinned.count for name, pinned in snapshot.flags.marks.items()} if snapshot.flags else {},
        takedowns=snapshot.flags.takedowns.count if snapshot.flags and snapshot.flags.takedowns else 0,
    )
