"""Metrics made of metrics."""

from collections.abc import Sequence
from functools import reduce
from operator import or_
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from ranking.errors import UsageError
from ranking.metrics.base import Finite, Metric, Options, Uses
from ranking.metrics.exact import number
from ranking.metrics.frame import Frame
from ranking.metrics.spec import MetricSpec


class Part(BaseModel):
    """A metric and its weight, written {"metric": {…}, "weight": 0.5}; without a weight, which is then 1, the metric
    alone will do."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    metric: MetricSpec
    weight: Finite = 1.0


def _placed(values: Any) -> Any:
    """The parts as plain values with their metrics parsed, so that an error says in which of them it is."""
    if not isinstance(values, list | tuple):
        return values
    found = []
    for index, value in enumerate(values):
        bare = isinstance(value, dict) and "metric" not in value and "name" in value
        part = {"metric": value} if bare else value
        if isinstance(part, dict) and isinstance(part.get("metric"), dict):
            try:
                part = part | {"metric": MetricSpec.model_validate(part["metric"])}
            except UsageError as error:
                message = error.message.removeprefix("metric.")
                raise type(error)(f"metric.of[{index}].{message}", code=error.code, hint=error.hint) from error
        found.append(part)
    return tuple(found)


Parts = Annotated[tuple[Part, ...], BeforeValidator(_placed), Field(min_length=2, max_length=32)]


class Weighted(Options):
    """Metrics with weights."""

    of: Parts = Field(description='the metrics, two or more: {"metric": {…}, "weight": 0.5}, or a metric alone for 1')

    @model_validator(mode="after")
    def _some_weight(self) -> Self:
        if not any(part.weight for part in self.of):
            raise ValueError("all weights are 0")
        return self


class Factors(Options):
    """Metrics without weights."""

    of: Parts = Field(description="the metrics, two or more")

    @model_validator(mode="after")
    def _no_weights(self) -> Self:
        if any(part.weight != 1 for part in self.of):
            raise ValueError("a weight changes no order of products, leave it out")
        return self


class Fused(Weighted):
    """Metrics with weights, and how much the first places count."""

    k: Finite = Field(default=60.0, ge=0, description="the larger, the less the first places differ from the next")
    of: Parts = Field(description='the metrics, two or more: {"metric": {…}, "weight": 0.5}, or a metric alone for 1')


def _used(options: Any) -> Uses:
    return reduce(or_, (part.metric.uses for part in options.of), Uses())


def _values(frame: Frame, parts: Sequence[Part]) -> list[str]:
    return [frame.let(part.metric.expression(frame)) for part in parts]


def _weighted_sum(frame: Frame, options: Weighted) -> str:
    terms = []
    for part, value in zip(options.of, _values(frame, options.of), strict=True):
        found = frame.moments(value)
        scaled = f"({value} - {number(found.mean)}) / {number(found.deviation or 1.0)}"
        terms.append(f"{number(part.weight)} * ({scaled})")
    return f"({' + '.join(terms)})"


def _product(frame: Frame, options: Factors) -> str:
    factors = [f"(CASE WHEN {value} < 0 THEN 0 ELSE {value} END)" for value in _values(frame, options.of)]
    return f"({' * '.join(factors)})"


def _rank_fusion(frame: Frame, options: Fused) -> str:
    terms = []
    for part, value in zip(options.of, _values(frame, options.of), strict=True):
        # Nulls come last, so they move nobody's place.
        place = frame.let(f"CASE WHEN {value} IS NOT NULL THEN rank() OVER (ORDER BY {value} DESC NULLS LAST) END")
        terms.append(f"{number(part.weight)} / ({number(options.k)} + {place})")
    return f"({' + '.join(terms)})"


METRICS = (
    Metric(
        name="weighted-sum",
        formula="Σ_i w_i · (m_i − mean of m_i) / deviation of m_i, over all pairs that have m_i",
        range="any number; of mean 0 if every pair has every part",
        source="the usual way to add what has different units; a part that is the same for all pairs adds 0",
        provenance="ours",
        nulls="one of the metrics has none",
        options=Weighted,
        expression=_weighted_sum,
        uses=_used,
    ),
    Metric(
        name="product",
        formula="Π_i max(m_i, 0)",
        range="0 and above",
        source="for parts that are all needed, such as a quality and a probability; negative parts count as 0, or two "
        "bad ones would make a good one",
        provenance="ours",
        nulls="one of the metrics has none",
        options=Factors,
        expression=_product,
        uses=_used,
    ),
    Metric(
        name="rank-fusion",
        formula="Σ_i w_i / (k + rank_i), rank_i = 1 + the number of pairs with a larger m_i",
        range="0 to Σ w_i / (k + 1) for positive weights",
        source="reciprocal rank fusion (Cormack, Clarke, Büttcher 2009), k = 60 as there. Equal pairs share the "
        "better place",
        provenance="verified",
        nulls="one of the metrics has none",
        options=Fused,
        expression=_rank_fusion,
        uses=_used,
    ),
)
