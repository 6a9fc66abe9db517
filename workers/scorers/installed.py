"""The scorers of installed packages: Pairsieve's own, and those of every entry point of the group `pairsieve.scorers`,
whose object is a sequence of `ScorerSpec`. What is wrong with one package is told and harms no other."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ranking.errors import PairsieveError, UsageError
from ranking.names import check_name
from ranking.store.shards import SCORE_SHARD, kind_of_name
from workers.scorers.base import PRECISIONS, ScorerSpec, View
from workers.scorers.files.places import below, place_of

GROUP = "pairsieve.scorers"
_BUILT_IN = (
    "workers.scorers.technical",
    *(f"workers.scorers.catalog.{family}" for family in ("clip", "blip", "mps", "vlm")),
)
_OWN = "pairsieve"
_FUNCTION = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")


@dataclass(frozen=True)
class Problem:
    """Why a package, or one scorer `name` of it, is not used: one line for people."""

    text: str
    name: str | None = None
    code: str = "scorer-package"

    def error(self) -> PairsieveError:
        """The same as an error, for who asks for that scorer."""
        return PairsieveError(self.text, code=self.code, hint="repair or uninstall the package")


@dataclass(frozen=True)
class Installed:
    """Scorers by name, and what is wrong with installed packages."""

    specs: dict[str, ScorerSpec]
    problems: tuple[Problem, ...]


@lru_cache(maxsize=1)
def installed() -> Installed:
    """The scorers of installed packages. Raises nothing for what is wrong with a third party's.

    Where a package takes a name of ours, ours stays; where two packages take one name, neither has it.
    """
    found = {spec.name: spec for module in _BUILT_IN for spec in import_module(module).SPECS}
    problems: list[Problem] = []
    claims: dict[str, list[tuple[str, ScorerSpec]]] = {}
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: (entry.name, entry.value)):
        whose = _whose(entry)
        for item in _listed(entry, whose, problems):
            flaw = _flaw(item)
            if flaw is not None:
                name = item.name if isinstance(item, ScorerSpec) and isinstance(item.name, str) else None
                problems.append(Problem(f"{whose} {flaw}", name))
            elif _is_own(entry):
                found[item.name] = item
            else:
                claims.setdefault(item.name, []).append((whose, item))
    for name, claim in claims.items():
        whose = " and ".join(whose for whose, _ in claim)
        if name in found:
            text = f"{whose} names a scorer {name!r} that Pairsieve has; Pairsieve's own is used"
            problems.append(Problem(text, code="scorer-name-taken"))
        elif len(claim) > 1:
            problems.append(Problem(f"{whose} both name a scorer {name!r}", name, "scorer-name-taken"))
        else:
            found[name] = claim[0][1]
    return Installed(found, tuple(problems))


def _whose(entry: EntryPoint) -> str:
    package = f"the package {entry.dist.name} {entry.dist.version}" if entry.dist else "an installed package"
    return f"{package} (entry point {entry.name} = {entry.value})"


def _is_own(entry: EntryPoint) -> bool:
    return entry.dist is not None and entry.dist.name == _OWN


def _listed(entry: EntryPoint, whose: str, problems: list[Problem]) -> Iterator[Any]:
    try:
        listed = entry.load()
    except Exception as error:  # a third party's module may raise anything
        reason = " ".join(str(error).split())[:200]
        problems.append(Problem(f"{whose} cannot be imported: {type(error).__name__}: {reason}"))
        return
    if not isinstance(listed, Sequence) or isinstance(listed, str | bytes):
        problems.append(Problem(f"{whose} gives a {type(listed).__name__}, not a sequence of ScorerSpec"))
        return
    yield from listed


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
