"""The metrics of installed packages: Pairsieve's own, and those of every entry point of the group `pairsieve.metrics`,
whose object is a sequence of `Metric`. What is wrong with one package is told and harms no other."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import lru_cache
from importlib import import_module
from typing import Any, get_args

from pydantic import BaseModel

from ranking.errors import UsageError
from ranking.metrics.base import Metric, Options, Provenance
from ranking.names import check_name
from ranking.packages import Problem, offered

GROUP = "pairsieve.metrics"
_BUILT_IN = tuple(
    f"ranking.metrics.catalog.{module}"
    for module in ("basic", "agreement", "gaps", "models", "fronts", "fifa", "confidence", "combined")
)
_TEXTS = ("formula", "range", "source", "nulls")


@dataclass(frozen=True)
class Installed:
    """Metrics by name, in the order in which they are documented; whose those are that are not Pairsieve's own, in
    words; and what is wrong with installed packages."""

    metrics: dict[str, Metric]
    whose: dict[str, str]
    problems: tuple[Problem, ...]


@lru_cache(maxsize=1)
def installed() -> Installed:
    """The metrics of installed packages; `ranking.packages.offered` says what becomes of bad ones and equal names."""
    ours = {metric.name: metric for module in _BUILT_IN for metric in import_module(module).METRICS}
    found = offered(GROUP, Metric, ours, called="metric", flaw=_flaw)
    return Installed(found.things, found.whose, found.problems)


def _flaw(thing: Any) -> str | None:
    """What is wrong with something that a package lists as a metric."""
    if not isinstance(thing, Metric):
        return f"lists a {type(thing).__name__}, not a Metric"
    try:
        check_name("metric", thing.name)
    except UsageError as error:
        return f"names a metric badly: {error}"
    values = {each.name: getattr(thing, each.name) for each in fields(thing)}
    for name in _TEXTS:
        if not isinstance(values[name], str) or not values[name].strip():
            return f"has a metric {thing.name!r} without a {name}"
    if thing.provenance not in get_args(Provenance):
        return f"has a metric {thing.name!r} with the provenance {thing.provenance!r}"
    if not (isinstance(thing.options, type) and issubclass(thing.options, Options)):
        return f"has a metric {thing.name!r} whose options are no subclass of Options"
    if undescribed := [name for name, each in _fields(thing.options).items() if not each.description]:
        return f"has a metric {thing.name!r} with an option {undescribed[0]!r} that has no description"
    if not callable(thing.expression) or not callable(thing.uses):
        return f"has a metric {thing.name!r} whose expression or uses is no function"
    return None


def _fields(options: type[BaseModel]) -> dict[str, Any]:
    return dict(options.model_fields)
