"""Recipes: what to filter, how to rank, how much to take, what to keep in balance and whose labels to believe. Not how
that is carried out."""

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    model_validator,
)

from ranking.embeddings import has_embedded
from ranking.errors import UnknownNameError, UsageError
from ranking.features.pairs import PairTable
from ranking.metrics.spec import MetricSpec, check_metric
from ranking.names import check_name
from ranking.query import Filter, check_size, compile_filter, fields_in
from ranking.subsets.contradictions import contradiction, leaves, said
from ranking.validation import first_flaw, syntax_flaw

STAGES: Final = ("where", "flags", "near_duplicates.distance", "labels", "weights", "metric")
"""What a pair must pass by itself, in this order."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Take(_Part):
    """How much to take, in exactly one way: `percent` of the eligible pairs (those that pass all of STAGES;
    rounded half up, at least one), a `count`, or all whose metric is at least `threshold`. `from: bottom` turns the
    ranking round, for controls: the lowest metric comes first, and a threshold is the most.
    """

    percent: float | None = Field(default=None, gt=0, le=100)
    count: int | None = Field(default=None, ge=1)
    threshold: float | None = Field(default=None, allow_inf_nan=False)
    end: Literal["top", "bottom"] = Field(default="top", alias="from")

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


class Cap(_Part):
    """At most so many pairs of one group, its best ones: `max` of them, or a `share` of the pairs to be taken (rounded
    up, at least one). Exactly one of the two."""

    max: int | None = Field(default=None, ge=1)
    share: float | None = Field(default=None, gt=0, le=1)

    @model_validator(mode="after")
    def _exactly_one(self) -> "Cap":
        if (self.max is None) == (self.share is None):
            raise ValueError("give exactly one of max and share")
        return self


class Balance(_Part):
    """Caps by who judged (`rater`), by the model that drew the winner (`winner_model`), and by the two models in either
    order (`models`). Pairs where it is unknown are not capped."""

    rater: Cap | None = None
    winner_model: Cap | None = None
    models: Cap | None = None


class NearDuplicates(_Part):
    """What to do about pairs that say nearly the same: at most `prompts` pairs of one cluster of near-duplicate
    prompts; at most `images` pairs of the same two clusters of near-duplicate images under one prompt; and no pair
    whose two images differ in fewer than `distance` bits of their perceptual hash. What is not named is not looked at,
    and pairs whose images were not decoded are kept."""

    prompts: int | None = Field(default=None, ge=1)
    images: int | None = Field(default=None, ge=1)
    distance: int | None = Field(default=None, ge=1, le=64)


class Diversity(_Part):
    """Re-ranking so that what is taken is not all alike: by (1 − weight) · quality + weight · diversity, over
    embeddings of the prompts or of the winners' images. Looked at are the best `pool` × as many pairs as are taken;
    `neighbours` is the k of knn-entropy. `ranking.subsets.diversity` has the formulas and bounds."""

    embedding: str
    of: Literal["prompt", "winner"] = "prompt"
    method: Literal["knn-entropy", "facility-location"] = "knn-entropy"
    weight: float = Field(default=0.2, ge=0, le=1)
    neighbours: int = Field(default=10, ge=1, le=1000)
    pool: float = Field(default=5.0, ge=1, le=1000)


class Relabel(_Part):
    """The winner is the image that the scorer `relabel` prefers; pairs it cannot tell apart are dropped."""

    relabel: str


class Vote(_Part):
    """The winner is the image that most of these scorers prefer, each with one vote; pairs with as many for as
    against are dropped, or keep the human label with `ties: human`."""

    vote: tuple[str, ...] = Field(min_length=1)
    ties: Literal["drop", "human"] = "drop"


class Soft(_Part):
    """The winner is the human's, with a probability: the value of the field `soft`, between 0 and 1, such as
    label_confidence. Where it is below one half the winner is the other image, so that it is never below; pairs
    without a value are dropped."""

    soft: str


class Weights(_Part):
    """What a training multiplies a pair's loss by: the value of `field`, kept between `low` and `high` where given.
    Pairs without a value are dropped; a value that is not positive at the end is an error."""

    field: str
    low: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    high: float | None = Field(default=None, gt=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _in_order(self) -> "Weights":
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"low, {self.low:g}, is above high, {self.high:g}")
        return self


def _checked_size(tree: Any) -> Any:
    check_size(tree)
    return tree


def _checked_as(kind: str) -> Callable[[Any], Any]:
    return lambda value: check_name(kind, value)


def _weights(value: Any) -> Any:
    return None if value == "none" else {"field": value} if isinstance(value, str) else value


def _listed(value: Any) -> Any:
    """YAML has lists where a strict model wants tuples."""
    if isinstance(value, dict) and isinstance(value.get("vote"), list):
        return value | {"vote": tuple(value["vote"])}
    return value


def _policy(value: Any) -> str | None:
    if isinstance(value, BaseModel):
        return type(value).__name__.lower()
    if isinstance(value, dict):
        named = [key for key in ("relabel", "vote", "soft") if key in value]
        return named[0] if len(named) == 1 else None
    return "word" if value in ("human", "random") else None


Labels = Annotated[
    Annotated[Literal["human", "random"], Tag("word")]
    | Annotated[Relabel, Tag("relabel")]
    | Annotated[Vote, Tag("vote")]
    | Annotated[Soft, Tag("soft")],
    Discriminator(
        _policy,
        custom_error_type="labels",
        custom_error_message="must be human, random, {relabel: SCORER}, {vote: [SCORER, …]} or {soft: FIELD}",
    ),
    BeforeValidator(_listed),
]
"""Who says which image won."""


class Recipe(_Part):
    """A recipe. `where` is a filter tree (see ranking.query). `flags` says whether pairs that a person flagged are left
    out. Labels that are `random` are a control: a toss decides who won, in pairs that have a winner. `seed` moves that
    toss, the metric "random" and the sampling in large diversity problems."""

    name: Annotated[str, BeforeValidator(_checked_as("subset"))]
    dataset: Annotated[str, BeforeValidator(_checked_as("dataset"))]
    where: Annotated[Filter | None, BeforeValidator(_checked_size)] = None
    flags: Literal["exclude", "keep"] = "exclude"
    metric: MetricSpec
    take: Take
    per_prompt: Cap | None = None
    balance: Balance | None = None
    near_duplicates: NearDuplicates | None = None
    diversity: Diversity | None = None
    labels: Labels = "human"
    weights: Annotated[Weights | None, BeforeValidator(_weights)] = None
    seed: int = Field(default=0, ge=0, lt=2**31)

    def canonical(self) -> dict[str, Any]:
        """The recipe as plain JSON with every default spelled out, the form that versions are computed
        from."""
        value: dict[str, Any] = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        return value

    @property
    def label_source(self) -> str:
        """ "human", "random", "relabel:<scorer>", "vote" or "soft:<field>"."""
        if isinstance(self.labels, Relabel):
            return f"relabel:{self.labels.relabel}"
        if isinstance(self.labels, Soft):
            return f"soft:{self.labels.soft}"
        return "vote" if isinstance(self.labels, Vote) else self.labels

    @property
    def scorers(self) -> tuple[str, ...]:
        """The scorers that the labels come from."""
        if isinstance(self.labels, Relabel):
            return (self.labels.relabel,)
        return self.labels.vote if isinstance(self.labels, Vote) else ()

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields that it names or that its metric reads, each once."""
        named = [*fields_in(self.where), *self.metric.uses.features, *(name for _, name in self.numbers)]
        return tuple(dict.fromkeys(named))

    @property
    def numbers(self) -> tuple[tuple[str, str], ...]:
        """The fields that are used as numbers, each after its place in the recipe."""
        soft = [("labels.soft", self.labels.soft)] if isinstance(self.labels, Soft) else []
        return (*soft, *([("weights", self.weights.field)] if self.weights else []))


def check_recipe(recipe: Recipe, table: PairTable) -> None:
    """UnknownNameError or UsageError, with the place in the recipe, unless its scorers, metric, embeddings and fields
    exist and fit, its filter does not contradict itself, and each scorer has scored something of the dataset."""
    scored: list[tuple[str, str]] = [("labels", scorer) for scorer in recipe.scorers]
    with _placed("metric"):
        check_metric(recipe.metric, scorers=table.scorers, features=table.fields, embeddings=table.embeddings)
        scored += [("metric", scorer) for scorer in recipe.metric.uses.scorers]
    with _placed("labels"):
        for scorer in recipe.scorers:
            if scorer not in table.scorers:
                raise UnknownNameError.among("scorer", scorer, table.scorers)
    with _placed("diversity"):
        if recipe.diversity and recipe.diversity.embedding not in table.embeddings:
            raise UnknownNameError.among("embedding", recipe.diversity.embedding, table.embeddings)
        if recipe.diversity and recipe.take.threshold is not None:
            raise UsageError(
                "a threshold takes all that reach it, so there is nothing to choose",
                hint="use take.percent or take.count",
            )
    for place, leaf in leaves(recipe.where):
        with _placed(place):
            compile_filter(leaf, table.fields)
            if leaf.op != "isnull":
                scored += [(place, scorer) for scorer in _scorers_of(leaf.field, table)]
    for place, name in recipe.numbers:
        with _placed(place):
            if name not in table.fields:
                raise UnknownNameError.among("field", name, table.fields)
            if table.fields[name].kind != "number":
                raise UsageError(f"{name} is a {table.fields[name].kind}, not a number", code="bad-recipe")
            scored += [(place, scorer) for scorer in _scorers_of(name, table)]
    found = contradiction(recipe.where)
    if found:
        (place, one), (other_place, other) = found
        raise UsageError(
            f"no pair can pass the filter: {place} wants {said(one)} and {other_place} wants {said(other)}",
            code="bad-filter",
            hint="drop one of them, or join them with `or`",
        )
    _check_scored(scored, table)
    embedded = [("metric", name) for name in recipe.metric.uses.embeddings]
    embedded += [("diversity", recipe.diversity.embedding)] if recipe.diversity else []
    for place, name in embedded:
        if not has_embedded(table.store, table.snapshot, table.dataset, name):
            raise UsageError(
                f"{place}: {name} has embedded nothing of {table.dataset} in snapshot {table.snapshot.n}",
                code="not-scored",
                hint="score the dataset with a scorer that keeps this embedding, and make a new snapshot",
            )


def _check_scored(scored: Iterable[tuple[str, str]], table: PairTable) -> None:
    """UsageError if a scorer that the recipe reads has no score at all of this dataset."""
    for place, scorer in scored:
        if not table.wide.tallies[scorer].scored:
            have = [name for name, tally in table.wide.tallies.items() if tally.scored]
            raise UsageError(
                f"{place}: {scorer} has scored nothing of {table.dataset} in snapshot {table.snapshot.n}",
                code="not-scored",
                hint=f"run `pairsieve score {table.dataset} --scorers {scorer}` and make a new snapshot; "
                f"{'scored here: ' + ', '.join(have) if have else 'no scorer has'}",
            )


def _scorers_of(field: str, table: PairTable) -> list[str]:
    """The scorer whose scores a field is made of; its statuses say something without any."""
    return [name for name in table.scorers if field.startswith(f"{name}.") and ".status_" not in field]


@contextmanager
def _placed(place: str) -> Iterator[None]:
    """Puts the place in the recipe before what is wrong with it."""
    try:
        yield
    except UsageError as error:
        raise type(error)(f"{place}: {error.message}", code=error.code, hint=error.hint) from error


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
    return parse_recipe(read_recipe(path), where=f"recipe {path}")


def read_recipe(path: str | Path) -> Any:
    """What a recipe's YAML or JSON file says, unchecked; UsageError if it cannot be read."""
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8")
        return json.loads(text) if file.suffix == ".json" else yaml.safe_load(text)
    except OSError as error:
        raise UsageError(f"recipe {file} cannot be read ({error.strerror})", code="bad-recipe") from error
    except (ValueError, yaml.YAMLError) as error:
        raise UsageError(
            f"recipe {file} is not valid YAML or JSON ({syntax_flaw(error)})", code="bad-recipe"
        ) from error


def _keys() -> str:
    return ", ".join(Recipe.model_fields)
