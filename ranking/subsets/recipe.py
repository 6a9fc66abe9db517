"""Recipes: what to filter, how to rank, how much to take and whose labels to believe. Not how that is carried
out.
"""

import json
from collections.abc import Callable
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from ranking.errors import UnknownNameError, UsageError
from ranking.metrics import MetricSpec, check_metric
from ranking.names import check_name
from ranking.query import Columns, Filter, check_size, compile_filter
from ranking.validation import first_flaw


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Take(_Part):
    """How much to take, in exactly one way: `percent` of the eligible pairs (those that pass the filter and
    have a metric; rounded half up, at least one), a `count`, or all whose metric is at least `threshold`.
    """

    percent: float | None = Field(default=None, gt=0, le=100)
    count: int | None = Field(default=None, ge=1)
    threshold: float | None = Field(default=None, allow_inf_nan=False)

    @model_validator(mode="after")
    def _exactly_one(self) -> "Take":
        if sum(value is not None for value in (self.percent, self.count, self.threshold)) != 1:
            raise ValueError("give exactly one of percent, count and threshold")
        return self

    def most(self, eligible: int) -> int:
        """The largest number of pairs to take of `eligible` ones."""
        if self.percent is not None:
            exact = Decimal(str(self.percent)) * eligible / 100
            return max(1, int(exact.quantize(Decimal(1), rounding=ROUND_HALF_UP)))
        return eligible if self.count is None else self.count


class PerPrompt(_Part):
    """At most `max` pairs of one prompt, its best ones; applied before `take` counts."""

    max: int = Field(ge=1)


class Relabel(_Part):
    """The winner is the image that the scorer `relabel` prefers; pairs it cannot tell apart are dropped."""

    relabel: str


def _checked_size(tree: Any) -> Any:
    check_size(tree)
    return tree


def _checked_as(kind: str) -> Callable[[Any], Any]:
    return lambda value: check_name(kind, value)


class Recipe(_Part):
    """A recipe. `where` is a filter tree (see ranking.query); `seed` moves the metric "random" only."""

    name: Annotated[str, BeforeValidator(_checked_as("subset"))]
    dataset: Annotated[str, BeforeValidator(_checked_as("dataset"))]
    where: Annotated[Filter | None, BeforeValidator(_checked_size)] = None
    metric: MetricSpec
    take: Take
    per_prompt: PerPrompt | None = None
    labels: Literal["human"] | Relabel = "human"
    seed: int = Field(default=0, ge=0, lt=2**31)

    def canonical(self) -> dict[str, Any]:
        """The recipe as plain JSON with every default spelled out, the form that versions are computed
        from."""
        value = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        value["metric"]["normalize"] = self.metric.effective_normalize
        return value

    @property
    def label_source(self) -> str:
        """ "human" or "relabel:<scorer>"."""
        return f"relabel:{self.labels.relabel}" if isinstance(self.labels, Relabel) else "human"


def check_recipe(recipe: Recipe, *, scorers: list[str], columns: Columns) -> None:
    """UnknownNameError or UsageError unless the recipe's scorers, metric and fields exist and fit."""
    check_metric(recipe.metric, scorers)
    if isinstance(recipe.labels, Relabel) and recipe.labels.relabel not in scorers:
        raise UnknownNameError.among("scorer", recipe.labels.relabel, scorers)
    compile_filter(recipe.where, columns)


def parse_recipe(value: Any, *, where: str = "the recipe") -> Recipe:
    """The recipe of a plain JSON value; UsageError in one line that names the key that does not fit."""
    if not isinstance(value, dict):
        raise UsageError(f"{where} is not a map of keys", code="bad-recipe", hint=f"it has {_keys()}")
    try:
        return Recipe.model_validate(value)
    except ValidationError as error:
        flaw = first_flaw(error)
        reason = f"unknown key {flaw.where!r}" if flaw.unknown_key else f"{flaw.where or 'recipe'}: {flaw.message}"
        hint = f"a recipe has {_keys()}" if flaw.unknown_key and len(flaw.path) == 1 else ""
        raise UsageError(f"{where} does not fit, {reason}", code="bad-recipe", hint=hint) from error


def load_recipe(path: str | Path) -> Recipe:
    """The recipe in a YAML or JSON file; UsageError if it cannot be read or does not fit."""
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8")
        value = json.loads(text) if file.suffix == ".json" else yaml.safe_load(text)
    except OSError as error:
        raise UsageError(f"recipe {file} cannot be read ({error.strerror})", code="bad-recipe") from error
    except (ValueError, yaml.YAMLError) as error:
        raise UsageError(f"recipe {file} is not valid YAML or JSON ({error})", code="bad-recipe") from error
    return parse_recipe(value, where=f"recipe {file}")


def _keys() -> str:
    return ", ".join(Recipe.model_fields)
