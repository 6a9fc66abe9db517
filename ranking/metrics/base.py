"""What a quality metric is: data that says its formula, source and options, and a function that writes the formula as
SQL. Knows no metric."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from ranking.metrics.frame import Frame

Normalize = Literal["raw", "minmax", "prompt-z", "sigmoid"]
NORMALIZE: tuple[str, ...] = get_args(Normalize)


class Options(BaseModel):
    """The options of a metric: a subclass names them, with defaults, and describes each by `Field(description=…)`.
    A metric without options uses this class itself."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


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
    """A quality metric. `formula` is for people, `range` says what values come out, `source` names paper, section or
    equation, and what could not be verified; `reconstruction` is true where the source could not be read.

    `expression(frame, options)` returns a SQL expression over the frame's rows, null where an input is missing (never
    NaN or an infinity), and is given options that were checked: what `uses(options)` names exists.
    """

    name: str
    formula: str
    range: str
    source: str
    options: type[Options]
    expression: Callable[[Frame, Any], str]
    uses: Callable[[Any], Uses] = field(default=lambda _: Uses())
    reconstruction: bool = False
