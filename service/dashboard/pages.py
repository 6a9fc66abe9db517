"""The dashboard's addresses: the overview, one subset, and the list of routes. Pairs are in `browser`, training runs in
`runs`, studies in `studies`."""

from __future__ import annotations

import json
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Query, Request
from starlette.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

from ranking import duck
from ranking.plan import list_plans
from ranking.runs import list_runs, run_state
from ranking.subsets.catalog import get_subset, list_subsets
from ranking.subsets.compare import compare as compare_subsets
from service import openapi
from service.api.datasets import dataset_out
from service.api.jobs import job_out
from service.api.present import image_url
from service.api.scorers import list_ as list_scorers
from service.api.subsets import subset_files, subset_page
from service.comparison import moved
from service.dashboard import browser, flags, grids, runs, studies
from service.dashboard.distributions import rows, stages, twins, twins_of
from service.dashboard.environment import STATIC, page, problem_page
from service.dashboard.evaluations import flat
from service.dependencies import NoParameters, Parts, PartsDep, ViewDep
from service.problems import CODES
from service.snapshots import View

_TILES = 24
_STRIP = 6
_RUNS = 10

router = APIRouter(include_in_schema=False)


def install(app: FastAPI) -> None:
    """Add the pages, the static files and the pages for problems."""
    app.include_router(router)
    app.include_router(browser.router)
    app.include_router(flags.router)
    app.include_router(runs.router)
    app.include_router(grids.router)
    app.include_router(studies.router)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    app.state.problem_page = problem_page


@router.get("/")
def overview(request: Request, parts: PartsDep, view: ViewDep) -> HTMLResponse:
    """What the store holds and what is going on."""
    store = parts.store
    plans = list_runs(store)
    scorers = list_scorers(view, NoParameters()).items
    return page(
        request,
        "overview.html",
        datasets=[
            (dataset_out(view, dataset), _strip(parts, view, dataset.name)) for dataset in view.datasets.values()
        ],
        jobs=[job_out(store, plan) for plan in reversed(list_plans(store))],
        subsets=list(reversed(list_subsets(store))),
        runs=[(run, run_state(store, run.run_id)) for run in reversed(plans[-_RUNS:])],
        all_runs=len(plans),
        scorers=scorers,
        warnings=[warning for scorer in scorers for warning in scorer.warnings],
        snapshot=view.snapshot,
    )


@router.get("/subsets/{ref}")
def subset(request: Request, ref: str, parts: PartsDep, view: ViewDep, cursor: str | None = None) -> HTMLResponse:
    """One subset: its recipe, what it changed, and its pairs by rank."""
    found = get_subset(parts.store, ref)
    shown = subset_page(parts, view, found, cursor=cursor, limit=_TILES)
    known = view.datasets[found.dataset]
    uids = [uid for item in shown.items for uid in (item.winner_uid, item.loser_uid)]
    parts.pictures.prepare(known, uids, 256)
    return page(
        request,
        "subset.html",
        subset=found,
        recipe=flat(found.recipe),
        files=subset_files(parts, found),
        items=[
            (item, image_url(known, item.winner_uid, size=256), image_url(known, item.loser_uid, size=256))
            for item in shown.items
        ],
        rows=rows(found.statistics.get("before", {}), found.statistics.get("after", {})),
        stages=stages(found),
        twins=twins(found),
        others=[each for each in list_subsets(parts.store) if each.ref != found.ref and each.dataset == found.dataset],
        next=f"/subsets/{found.ref}?cursor={shown.next}" if shown.next else None,
        previous=f"/subsets/{found.ref}?cursor={shown.previous}" if shown.previous else None,
        pixelated=browser.is_pixelated(parts, view, found.dataset),
    )


@router.get("/subsets/{ref}/compare")
def compare(request: Request, ref: str, parts: PartsDep, other: Annotated[str, Query(alias="with")]) -> HTMLResponse:
    """Two subsets beside each other."""
    first, second = get_subset(parts.store, ref), get_subset(parts.store, other)
    found = compare_subsets(parts.store, first, second)
    return page(
        request,
        "compare.html",
        found=found,
        dataset=first.dataset,
        changes=[{"key": each.key, "first": _plain(each.a), "second": _plain(each.b)} for each in found.recipe],
        rows=rows(first.statistics.get("after", {}), second.statistics.get("after", {})),
        twins=twins_of(first, second),
        moved=moved(parts.subsets, first, second),
    )


def _plain(value: Any) -> str:
    return "–" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


@router.get("/docs")
def docs(request: Request) -> HTMLResponse:
    """The routes of the API and the codes of its errors, from the OpenAPI document; loads nothing from
    elsewhere."""
    made = openapi.document(request.app)
    operations = [
        (
            method.upper(),
            path,
            operation["description"],
            operation.get("parameters", []),
            operation["operationId"],
        )
        for path, methods in made["paths"].items()
        for method, operation in methods.items()
    ]
    return page(request, "docs.html", operations=operations, codes=CODES, version=made["info"]["version"])


def _strip(parts: Parts, view: View, dataset: str) -> tuple[list[tuple[str, str]], bool]:
    """A few (thumbnail, prompt) of a dataset, and whether its pictures are small."""
    if dataset not in view.tables:
        return [], False
    with view.cursor() as con:
        relation = duck.identifier(view.tables[dataset].relation)
        rows = duck.arrow(con, f"SELECT image_0_uid AS uid, prompt FROM {relation} LIMIT {_STRIP}").to_pylist()
    known = view.datasets[dataset]
    parts.pictures.prepare(known, [row["uid"] for row in rows], 256)
    pictures = [(image_url(known, row["uid"], size=256), row["prompt"] or "") for row in rows]
    return pictures, browser.is_pixelated(parts, view, dataset)
