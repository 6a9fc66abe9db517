"""A metric with its options, as a recipe names it, and the query that computes it."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import duckdb
from pydantic import (
    BaseModel,
    ConfigDict,
    SerializeAsAny,
    ValidationError,
    ValidatorFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from ranking.errors import PairsieveError, UnknownNameError, UsageError
from ranking.metrics.base import Options, Uses
from ranking.metrics.frame import Frame
from ranking.metrics.installed import installed
from ranking.metrics.registry import known_metric
from ranking.packages import said
from ranking.validation import first_flaw

_DEEPEST, _MOST = 24, 500


class MetricSpec(BaseModel):
    """Which metric with which options, written flat: {"name": "qsd", "scorer": "hpsv2.1", "normalize": "minmax"}.

    UnknownNameError for a metric that does not exist, UsageError in one line for options that do not fit it.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    options: SerializeAsAny[Options]

    @model_validator(mode="wrap")
    @classmethod
    def _from_flat(cls, value: Any, handler: ValidatorFunctionWrapHandler) -> "MetricSpec":
        if isinstance(value, MetricSpec):
            return value
        if not isinstance(value, dict) or not isinstance(value.get("name"), str):
            raise ValueError('a metric is a map with a name, such as {"name": "random"}')
        _check_size(value)
        metric = known_metric(value["name"])
        try:
            options = metric.options.model_validate({key: each for key, each in value.items() if key != "name"})
        except ValidationError as error:
            flaw = first_flaw(error)
            where = f"metric.{flaw.where}" if flaw.where else "metric"
            known = ", ".join(metric.options.model_fields) or "none"
            raise UsageError(
                f"unknown option {where!r}" if flaw.unknown_key else f"{where}: {flaw.message}",
                code="bad-recipe",
                hint=f"the options of {metric.name} are {known}",
            ) from error
        found: MetricSpec = handler({"name": metric.name, "options": options})
        return found

    @model_serializer
    def _flat(self) -> dict[str, Any]:
        return {"name": self.name, **self.options.model_dump(mode="json", by_alias=True, exclude_none=True)}

    @property
    def uses(self) -> Uses:
        """What it reads beyond the labels."""
        metric = known_metric(self.name)
        with _blamed(self.name):
            return metric.uses(self.options)

    def expression(self, frame: Frame) -> str:
        """The metric as a SQL expression over the frame's rows: a finite DOUBLE, or null, as for a pair without a
        winner. PairsieveError where a third party's metric fails."""
        metric = known_metric(self.name)
        with frame.together(self.uses.scorers), _blamed(self.name):
            value = frame.let(f"({metric.expression(frame, self.options)})::DOUBLE")
            if self.name in installed().whose:
                frame.con.execute(f"SELECT {value} {frame.source()} LIMIT 0")  # does it name what exists?
        return f"(CASE WHEN {frame.winner} IS NOT NULL AND isfinite({value}) THEN {value} END)"


def check_metric(
    spec: MetricSpec,
    *,
    scorers: Collection[str],
    features: Collection[str] = (),
    embeddings: Collection[str] = (),
) -> None:
    """UnknownNameError unless the scorers, features and embeddings that the metric reads exist."""
    uses = spec.uses
    for kind, wanted, known in (
        ("scorer", uses.scorers, scorers),
        ("field", uses.features, features),
        ("embedding", uses.embeddings, embeddings),
    ):
        for name in wanted:
            if name not in known:
                raise UnknownNameError.among(kind, name, known)


@contextmanager
def _blamed(name: str) -> Iterator[None]:
    """Says whose it is when a third party's metric fails inside; its users cannot tell from the traceback."""
    whose = installed().whose.get(name)
    try:
        yield
    except Exception as error:
        if whose is None or isinstance(error, PairsieveError | duckdb.InterruptException):
            raise
        raise PairsieveError(
            f"metric {name} of {whose} failed: {said(error)}",
            code="metric-package",
            hint="repair or uninstall the package",
        ) from error


def _check_size(value: Any) -> None:
    """UsageError for a metric that is nested so deeply, or of so many parts, that nobody meant it."""
    seen, layer, depth = 0, [value], 0
    while layer:
        seen, depth = seen + len(layer), depth + 1
        if seen > _MOST or depth > _DEEPEST:
            raise UsageError("metric: too many metrics inside one another", code="bad-recipe", hint="combine fewer")
        layer = [
            inner
            for each in layer
            if isinstance(each, dict | list)
            for inner in (each.values() if isinstance(each, dict) else each)
        ]
