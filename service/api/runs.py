"""GET /v1/runs: training runs, live while they go on: curves, warnings, samples, evaluations."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from ranking.names import sha256_file, sha256_hex
from ranking.runs import list_runs
from service.api.files import REVALIDATE, send_bytes, send_file
from service.api.models import SampleOut
from service.api.run_models import (
    RunDetail,
    RunList,
    RunOut,
    RunSamples,
    RunWarningOut,
    SeriesOut,
    TimeGridOut,
)
from service.dependencies import NoQuery, PartsDep
from service.runs import POINTS, RunFacts, glance, metrics_path, read_run
from service.samples import list_samples, run_samples_key, sample_picture
from training.watch.live import told

router = APIRouter(prefix="/v1/runs", tags=["runs"])

Step = Annotated[int, Path(ge=0, le=2**53)]


class RunQuery(BaseModel):
    """How finely to draw a run."""

    model_config = ConfigDict(extra="forbid")

    points: int = Field(POINTS, ge=2, le=2000, description="at most, of each series")


@router.get("")
def list_(parts: PartsDep, _query: NoQuery) -> RunList:
    """Every run, newest first."""
    return RunList(items=[RunOut(**row(glance(parts.store, run.run_id))) for run in reversed(list_runs(parts.store))])


@router.get("/{run_id}", response_model=RunDetail)
def get(request: Request, run_id: str, parts: PartsDep, query: Annotated[RunQuery, Query()]) -> Response:
    """One run: its config, and what it measured so far. Its ETag follows from the content."""
    facts = read_run(parts.store, run_id, points=query.points)
    curves = facts.curves
    report = RunDetail(
        **row(facts),
        config=facts.plan.config,
        result=facts.result,
        evaluations=facts.evaluations,
        reason=facts.reason,
        told=facts.told,
        seconds_left=facts.seconds_left,
        latest=dict(curves.latest),
        recent=dict(curves.recent),
        series=[SeriesOut(**asdict(each)) for each in curves.series],
        by_time=[TimeGridOut(**asdict(each)) for each in curves.by_time],
        notes=[RunWarningOut(**asdict(each)) for each in curves.warnings],
        samples=facts.samples,
    )
    data = report.model_dump_json().encode()
    return send_bytes(request, data, sha256=sha256_hex(data), media_type="application/json", immutable=False)


@router.get("/{run_id}/metrics", response_class=Response, responses={200: {"content": {"application/jsonl": {}}}})
def metrics(request: Request, run_id: str, parts: PartsDep, _query: NoQuery) -> Response:
    """The steps as they were recorded, one JSON object a line: metrics.jsonl of a run that is done; of one that goes on
    what it last told, thinned."""
    facts = read_run(parts.store, run_id)
    path = metrics_path(parts.store, run_id, facts.result) if facts.result is not None else None
    name = f"{run_id}-metrics.jsonl"
    if path is not None:
        return send_file(
            request, path, sha256=sha256_file(path), media_type="application/jsonl", file_name=name, immutable=False
        )
    word = told(parts.store, run_id)
    lines = [] if word is None else [json.dumps(record) + "\n" for record in word.records]
    return Response("".join(lines), media_type="application/jsonl", headers={"cache-control": REVALIDATE})


@router.get("/{run_id}/samples/{step}")
def samples(run_id: str, step: Step, parts: PartsDep, _query: NoQuery) -> RunSamples:
    """What the run drew before a step."""
    found = list_samples(parts.store, run_samples_key(run_id, step))
    items = [
        SampleOut(index=each.index, prompt=each.prompt, seed=each.seed, url=sample_address(run_id, step, each.index))
        for each in found
    ]
    return RunSamples(step=step, items=items)


@router.get(
    "/{run_id}/samples/{step}/{index}",
    response_class=Response,
    responses={200: {"content": {"image/webp": {}}}},
)
def sample(
    request: Request,
    run_id: str,
    step: Step,
    parts: PartsDep,
    _query: NoQuery,
    index: int = Path(ge=0, le=2**31),
) -> Response:
    """One image that the run drew before a step."""
    picture = sample_picture(parts.store, run_samples_key(run_id, step), index)
    return send_bytes(request, picture.data, sha256=picture.sha256, media_type=picture.media_type, immutable=True)


def row(facts: RunFacts) -> dict[str, Any]:
    """The values of a RunOut."""
    judges = (facts.evaluations[-1].get("judges") if facts.evaluations else None) or []
    rates = {str(judge.get("judge")): judge.get("rate") for judge in judges if isinstance(judge, dict)}
    return {
        "id": facts.plan.run_id,
        "subset": facts.plan.subset,
        "state": facts.state,
        "created": facts.plan.created,
        "model": str(facts.plan.config.get("model", "")),
        "method": facts.method,
        "lora": facts.plan.config.get("lora") is not None,
        "steps_done": facts.curves.steps_done,
        "steps_total": facts.steps_total,
        "headline": facts.curves.headline,
        "loss": facts.curves.recent.get("loss"),
        "implicit_accuracy": facts.curves.recent.get("implicit_accuracy"),
        "win_rates": rates,
        "warnings": [warning.code for warning in facts.curves.warnings if warning.grave],
    }


def sample_address(run_id: str, step: int, index: int) -> str:
    """The address of one image that a run drew."""
    return f"/v1/runs/{run_id}/samples/{step}/{index}"
