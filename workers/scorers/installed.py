"""The scorers of installed packages: Pairsieve's own, and those of every entry point of the group `pairsieve.scorers`,
whose object is a sequence of `ScorerSpec`. What is wrong with one package is told and harms no other."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ranking.errors import UsageError
from ranking.names import check_name
from ranking.packages import Problem, offered
from ranking.store.shards import SCORE_SHARD, kind_of_name
from workers.scorers.base import PRECISIONS, ScorerSpec, View
from workers.scorers.files.places import below, place_of

GROUP = "pairsieve.scorers"
_BUILT_IN = (
    "workers.scorers.technical",
    *(f"workers.scorers.catalog.{family}" for family in ("clip", "blip", "mps", "vlm")),
)
_FUNCTION = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")


@dataclass(frozen=True)
class Installed:
    """Scorers by name, and what is wrong with installed packages."""

    specs: dict[str, ScorerSpec]
    problems: tuple[Problem, ...]


@lru_cache(maxsize=1)
def installed() -> Installed:
    """The scorers of installed packages; `ranking.packages.offered` says what becomes of bad ones and equal names."""
    ours = {spec.name: spec for module in _BUILT_IN for spec in import_module(module).SPECS}
    found = offered(GROUP, ScorerSpec, ours, called="scorer", flaw=_flaw)
    return Installed(found.things, found.problems)


def _flaw(item: Any) -> str | None:
    """What is wrong with something that a package lists as a scorer."""
    if not isinstance(item, ScorerSpec):
        return f"lists a {type(item).__name__}, not a ScorerSpec"
    try:
        check_name("scorer", item.name)
    except UsageError as error:
        return f"names a scorer badly: {error}"
    if kind_of_name(item.name) is not SCORE_SHARD:
        return f"names a scorer {item.name!r}, a name kept for {kind_of_name(item.name).what}"
    functions = [item.factory, *(view.make if isinstance(view, View) else view for view in item.views)]
    functions += [item.embedding.factory] if item.embedding else []
    for function in functions:
        if not isinstance(function, str) or not _FUNCTION.fullmatch(function):
            return f"has a scorer {item.name!r} with {function!r} where 'module:function' belongs"
        package = function.partition(":")[0].partition(".")[0]
        if find_spec(package) is None:
            return f"has a scorer {item.name!r} with {function!r}, but no module {package!r} is installed"
    if item.precision not in PRECISIONS.values():
        return f"has a scorer {item.name!r} with the precision {item.precision!r}"
    try:
        for asset in item.assets:
            below(Path(), asset.name)
            if asset.source:
                place_of(asset.source)
    except (UsageError, AttributeError, TypeError) as error:
        return f"has a scorer {item.name!r} with a bad file: {error}"
    return None
