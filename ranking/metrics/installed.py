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
from ranking.packages import Problem, offers

GROUP = "pairsieve.metrics"
_BUILT_IN = tuple(
    f"ranking.metrics.catalog.{module}"
    for module in ("basic", "agreement", "gaps", "models", "fronts", "fifa", "confidence", "combined")
)
_PACKAGE, _TAKEN = "metric-package", "metric-name-taken"
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
    """The metrics of installed packages. Raises nothing for what is wrong with a third party's.

    Where a package takes a name of ours, ours stays; where two packages take one name, neither has it.
    """
    found = {metric.name: metric for module in _BUILT_IN for metric in import_module(module).METRICS}
    problems: list[Problem] = []
    claims: dict[str, list[tuple[str, Metric]]] = {}
    for offer in offers(GROUP, Metric, problems, code=_PACKAGE):
        flaw = _flaw(offer.thing)
        if flaw is not None:
            name = offer.thing.name if isinstance(offer.thing, Metric) and isinstance(offer.thing.name, str) else None
            problems.append(Problem(f"{offer.whose} {flaw}", _PACKAGE, name))
        else:
            claims.setdefault(offer.thing.name, []).append((offer.whose, offer.thing))
    whose: dict[str, str] = {}
    for name, claim in claims.items():
        claimants = " and ".join(who for who, _ in claim)
        if name in found:
            text = f"{claimants} names a metric {name!r} that Pairsieve has; Pairsieve's own is used"
            problems.append(Problem(text, _TAKEN))
        elif len(claim) > 1:
            problems.append(Problem(f"{claimants} both name a metric {name!r}", _TAKEN, name))
        else:
            whose[name], found[name] = claim[0]
    return Installed(found, whose, tuple(problems))


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
