"""What a quality metric is: data that says its formula, source and options, and a function that writes the formula as
SQL. Knows no metric."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

if TYPE_CHECKING:
    from ranking.metrics.frame import Frame

Normalize = Literal["raw", "minmax", "prompt-z", "sigmoid"]
NORMALIZE: tuple[str, ...] = get_args(Normalize)

Provenance = Literal["verified", "secondary", "reconstruction", "ours"]
"""How well a formula is known: read in the paper or the authors' code; concordant accounts by others; pieced together
or filled in by us where neither says enough; or not from elsewhere at all."""
PROVENANCES: dict[Provenance, str] = {
    "verified": "read in the paper or in its authors' code",
    "secondary": "from concordant accounts by others; the paper could not be read",
    "reconstruction": "pieced together, or filled in by us where the sources do not say enough",
    "ours": "not from elsewhere",
}


class Options(BaseModel):
    """The options of a metric: a subclass names them, with defaults, and describes each by `Field(description=…)`.
    A metric without options uses this class itself."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def listed(value: Any) -> Any:
    """JSON and YAML have lists where a strict model wants tuples."""
    return tuple(value) if isinstance(value, list) else value


def _distinct(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{name!r} is named twice")
    return names


Scorers = Annotated[tuple[str, ...], BeforeValidator(listed), Field(min_length=1), AfterValidator(_distinct)]
"""The type of an option that names one or more different scorers."""

Finite = Annotated[float, Field(allow_inf_nan=False)]
"""The type of an option that is a number."""


@dataclass(frozen=True)
class Uses:
    """What a metric with certain options reads beyond the labels: names of scorers, of features (fields of the wide
    table), and of embeddings; and whether the recipe's seed moves it."""

    scorers: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    embeddings: tuple[str, ...] = ()
    seed: bool = False

    def __or__(self, other: Uses) -> Uses:
        return Uses(
            tuple(dict.fromkeys(self.scorers + other.scorers)),
            tuple(dict.fromkeys(self.features + other.features)),
            tuple(dict.fromkeys(self.embeddings + other.embeddings)),
            self.seed or other.seed,
        )


@dataclass(frozen=True)
class Metric:
    """A quality metric; higher is better. For people: its `formula`, the `range` of what comes out, its `source`
    (paper, section, equation, and what could not be verified) with how well it is known, and `nulls`, which ends the
    sentence "a pair has no metric if it has no winner, or …".

    `expression(frame, options)` returns a SQL expression over the frame's rows, null where an input is missing, and is
    given options that were checked: what `uses(options)` names exists. What is no finite number becomes null.
    """

    name: str
    formula: str
    range: str
    source: str
    provenance: Provenance
    nulls: str
    options: type[Options]
    expression: Callable[[Frame, Any], str]
    uses: Callable[[Any], Uses] = field(default=lambda _: Uses())
