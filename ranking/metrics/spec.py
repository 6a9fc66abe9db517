"""A metric with its options, as a recipe names it, and the query that computes it."""

from collections.abc import Collection
from typing import Any

from pydantic import (
    BaseModel,
    ConfigDict,
    SerializeAsAny,
    ValidationError,
    ValidatorFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from ranking.errors import UnknownNameError, UsageError
from ranking.metrics.base import Options, Uses
from ranking.metrics.frame import Frame
from ranking.metrics.registry import known_metric
from ranking.validation import first_flaw


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
        metric = known_metric(value["name"])
        try:
            options = metric.options.model_validate({key: each for key, each in value.items() if key != "name"})
        except ValidationError as error:
            flaw = first_flaw(error)
            reason = f"unknown option {flaw.where!r}" if flaw.unknown_key else f"{flaw.where}: {flaw.message}"
            known = ", ".join(metric.options.model_fields) or "none"
            raise UsageError(
                f"metric {metric.name} does not fit, {reason}", code="bad-recipe", hint=f"its options are {known}"
            ) from error
        found: MetricSpec = handler({"name": metric.name, "options": options})
        return found

    @model_serializer
    def _flat(self) -> dict[str, Any]:
        return {"name": self.name, **self.options.model_dump(mode="json", by_alias=True, exclude_none=True)}

    @property
    def uses(self) -> Uses:
        """What it reads beyond the labels."""
        return known_metric(self.name).uses(self.options)

    def expression(self, frame: Frame) -> str:
        """The metric as a SQL expression over the frame's rows; null for a pair without a winner."""
        formula = known_metric(self.name).expression(frame, self.options)
        return f"(CASE WHEN {frame.winner} IS NOT NULL THEN {formula} END)"


def check_metric(
    spec: MetricSpec, *, scorers: Collection[str], features: Collection[str] = (), embeddings: Collection[str] = ()
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
