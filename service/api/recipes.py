"""POST /v1/recipes:check: what a recipe would select from the newest snapshot. Makes no subset."""

from __future__ import annotations

import json
import threading
from typing import Any, Final

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from ranking.errors import UsageError
from ranking.subsets.recipe import Recipe, check_recipe, parse_recipe
from ranking.subsets.select import rank
from service.api.models import RankedPair, RecipeCheck
from service.api.present import image_url
from service.dependencies import NoQuery, PartsDep, ViewDep
from service.problems import ApiProblem, Invalid
from service.security import JsonBody
from service.snapshots import Table

router = APIRouter(prefix="/v1/recipes", tags=["recipes"])

_PATIENCE: Final = 30.0
_turn = threading.Lock()  # one at a time: each may take all processors and gigabytes


class RecipeQuestion(BaseModel):
    """A recipe, and how many of the best pairs to show."""

    model_config = ConfigDict(extra="forbid", strict=True)

    recipe: dict[str, Any] = Field(
        description="as in a recipe's YAML file",
        examples=[
            {
                "name": "best",
                "dataset": "pickapic-v2",
                "where": {"field": "is_tie", "value": False},
                "metric": {"name": "margin", "scorer": "hpsv2.1"},
                "take": {"percent": 5.33},
                "per_prompt": {"max": 4},
            }
        ],
    )
    rows: int = Field(10, ge=0, le=100, description="pairs to show, best first")


@router.post(":check", dependencies=[JsonBody])
def check(parts: PartsDep, view: ViewDep, _query: NoQuery, body: RecipeQuestion) -> RecipeCheck:
    """Whether a recipe fits, how many pairs each of its stages leaves, how many it would take, and the best of them.
    Nothing is kept: `pairsieve subset create` makes the subset."""
    recipe = _parsed(body.recipe)
    dataset = view.dataset(recipe.dataset)
    assert dataset is not None, "a name gives a dataset or an error"
    table = view.table(dataset)
    assert view.snapshot is not None, "a table has a snapshot"
    _fits(recipe, table)
    table.beside.compute(recipe.fields)
    if not _turn.acquire(timeout=_PATIENCE):
        raise ApiProblem(
            "busy", "Other recipes are being checked; try again in a moment.", headers={"retry-after": "5"}
        )
    try:
        ranked = rank(parts.store, view.snapshot, recipe, limit=body.rows, table=table.beside.pairs)
    except UsageError as error:
        raise _invalid(error) from error
    finally:
        _turn.release()
    counts = json.loads(ranked.schema.metadata[b"stages"])
    return RecipeCheck(
        recipe=recipe.canonical(),
        snapshot=view.snapshot.n,
        counts=counts,
        items=[
            RankedPair(
                **row,
                winner_url=image_url(dataset, row["winner_uid"]),
                loser_url=image_url(dataset, row["loser_uid"]),
            )
            for row in ranked.to_pylist()
        ],
    )


def _parsed(value: dict[str, Any]) -> Recipe:
    try:
        return parse_recipe(value)
    except UsageError as error:
        raise _invalid(error) from error


def _fits(recipe: Recipe, table: Table) -> None:
    try:
        check_recipe(recipe, table.beside.pairs)
    except UsageError as error:
        raise _invalid(error) from error


def _invalid(error: UsageError) -> ApiProblem:
    where = Invalid(pointer="body/recipe", message=error.message)
    return ApiProblem("invalid-parameter", str(error), errors=[where])
