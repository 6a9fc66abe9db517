"""The dashboard's pages of studies: all of them, and one with its table, intervals and charts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from markupsafe import Markup
from starlette.responses import HTMLResponse

from ranking.studies import Study, filled, get_study, list_studies, study_result
from service.dashboard.environment import page
from service.dashboard.grids import families
from service.dependencies import PartsDep
from training.study.charts import forest
from training.study.result import pairs_taken, shown

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True)
class Row:
    """An arm by one judge, as text; `over` is its difference from random pairs."""

    arm: str
    role: str
    circular: bool
    pairs: int
    value: str
    interval: str
    over: str
    over_interval: str
    sure: bool


@dataclass(frozen=True)
class Table:
    """What one judge says of every arm."""

    judge: str
    meaning: str
    percent: bool
    rows: list[Row]
    chart: Markup


@router.get("/studies")
def studies(request: Request, parts: PartsDep) -> HTMLResponse:
    """Every study, by name, then oldest first."""
    known = list_studies(parts.store)
    found = [(study, len(filled(parts.store, study))) for study in known]
    return page(request, "studies.html", studies=found, grids=families(known))


@router.get("/studies/{name}")
def newest(request: Request, name: str, parts: PartsDep) -> HTMLResponse:
    """The newest study of a name."""
    return _study(request, parts, get_study(parts.store, name))


@router.get("/studies/{name}/{id}")
def one(request: Request, name: str, id: str, parts: PartsDep) -> HTMLResponse:
    """One study of a name."""
    return _study(request, parts, get_study(parts.store, name, id))


def _study(request: Request, parts: PartsDep, study: Study) -> HTMLResponse:
    result = study_result(parts.store, study)
    done = {(cell.arm, cell.seed): cell for cell in filled(parts.store, study)}
    return page(
        request,
        "study.html",
        study=study,
        done=done,
        tables=_tables(result) if result else [],
        notes=[(arm["name"], note) for arm in (result or {}).get("arms", []) for note in arm.get("notes", [])],
    )


def _tables(result: dict[str, Any]) -> list[Table]:
    return [
        Table(
            judge=judge["name"],
            meaning=judge["meaning"],
            percent=judge["form"] == "share",
            rows=[_row(arm, arm["judged"][judge["name"]], judge["form"]) for arm in result["arms"]],
            chart=Markup(forest(result, judge)),
        )
        for judge in result["judges"]
    ]


def _row(arm: dict[str, Any], found: dict[str, Any], form: str) -> Row:
    over = found["over_random"]
    return Row(
        arm=arm["name"],
        role=arm["role"],
        circular=found["circular"],
        pairs=pairs_taken(arm),
        value=shown(found["value"], form),
        interval=_interval(found, form),
        over=shown(over["value"], form, signed=True) if over else "",
        over_interval=_interval(over, form, signed=True) if over else "",
        sure=bool(over) and None not in (over["low"], over["high"]) and (over["low"] > 0 or over["high"] < 0),
    )


def _interval(found: dict[str, Any], form: str, *, signed: bool = False) -> str:
    return f"{shown(found['low'], form, signed=signed)} to {shown(found['high'], form, signed=signed)}"
