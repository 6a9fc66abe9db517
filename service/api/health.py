"""GET /livez and /readyz: whether the process runs, and whether it can do its work."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import JSONResponse, Response

from service.api.models import Check, Health
from service.dependencies import NoQuery, PartsDep

router = APIRouter(tags=["health"])


@router.get("/livez")
def livez(_query: NoQuery) -> Health:
    """The process answers. Touches nothing else."""
    return Health(status="ok", checks={})


@router.get("/readyz", response_model=Health, responses={503: {"model": Health}})
def readyz(parts: PartsDep, _query: NoQuery) -> Response:
    """The store can be read and the newest snapshot is loaded; 503 otherwise."""
    trouble = parts.store.usable()
    view, error = parts.snapshots.view, parts.snapshots.error
    loaded = f"snapshot {view.number}" if view.snapshot else "no snapshot yet"
    checks = {
        "store": Check(ok=trouble is None, detail=trouble or "readable"),
        "snapshot": Check(ok=error is None, detail=loaded if error is None else f"a newer one failed; {loaded}"),
    }
    ok = all(check.ok for check in checks.values())
    health = Health(status="ok" if ok else "unavailable", checks=checks)
    return JSONResponse(health.model_dump(), 200 if ok else 503)
