"""GET /v1/studies: recipes compared at an equal budget, and what judges say of them."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from ranking.studies import Study, filled, get_study, list_studies, study_result
from service.dependencies import NoQuery, PartsDep

router = APIRouter(prefix="/v1/studies", tags=["studies"])


class StudyOut(BaseModel):
    """A study that was begun. A cell is an arm with a seed."""

    name: str
    id: str
    dataset: str
    snapshot: int
    arms: list[str]
    judges: list[str]
    cells_total: int
    cells_done: int
    created: str


class StudyDetail(StudyOut):
    spec: dict[str, Any] = Field(description="the study as it was asked, with every default spelled out")
    result: dict[str, Any] | None = Field(
        description="by arm and judge a value, its 95 % interval, each seed's and the difference from random pairs; "
        "null while cells are open"
    )


class StudyList(BaseModel):
    items: list[StudyOut]


@router.get("")
def list_(parts: PartsDep, _query: NoQuery) -> StudyList:
    """Every study, by name, then oldest first."""
    return StudyList(items=[StudyOut(**_facts(parts, study)) for study in list_studies(parts.store)])


@router.get("/{name}")
def get(name: str, parts: PartsDep, _query: NoQuery) -> StudyDetail:
    """The newest study of a name, with its result."""
    return _detail(parts, get_study(parts.store, name))


@router.get("/{name}/{id}")
def get_one(name: str, id: str, parts: PartsDep, _query: NoQuery) -> StudyDetail:
    """One study of a name, with its result."""
    return _detail(parts, get_study(parts.store, name, id))


def _detail(parts: PartsDep, study: Study) -> StudyDetail:
    return StudyDetail(**_facts(parts, study), spec=study.spec, result=study_result(parts.store, study))


def _facts(parts: PartsDep, study: Study) -> dict[str, Any]:
    return {
        "name": study.name,
        "id": study.id,
        "dataset": study.spec["dataset"],
        "snapshot": study.snapshot.n,
        "arms": [arm["name"] for arm in study.arms],
        "judges": [judge["name"] for judge in study.judges],
        "cells_total": len(study.cells),
        "cells_done": len(filled(parts.store, study)),
        "created": study.created,
    }
