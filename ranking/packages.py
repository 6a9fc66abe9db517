"""What installed packages offer through entry points, and what is wrong with them. One package's trouble is told in a
line and harms no other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from ranking.errors import PairsieveError

_OWN = "pairsieve"


@dataclass(frozen=True)
class Problem:
    """Why a package, or one thing `name` of it, is not used: one line for people."""

    text: str
    code: str
    name: str | None = None

    def error(self) -> PairsieveError:
        """The same as an error, for who asks for that thing."""
        return PairsieveError(self.text, code=self.code, hint="repair or uninstall the package")


@dataclass(frozen=True)
class Offer:
    """One thing that an entry point lists: whose it is, in words, and whether the package is Pairsieve itself."""

    whose: str
    own: bool
    thing: Any


def offers(group: str, kind: type, problems: list[Problem], *, code: str) -> Iterator[Offer]:
    """What the entry points of a group list, in the order of their names. An object that is no sequence, or cannot be
    imported, becomes a problem with that code; what is listed is not looked at."""
    for entry in sorted(entry_points(group=group), key=lambda entry: (entry.name, entry.value)):
        whose = _whose(entry)
        try:
            things = entry.load()
        except Exception as error:  # a third party's module may raise anything
            problems.append(Problem(f"{whose} cannot be imported: {said(error)}", code))
            continue
        if not isinstance(things, Sequence) or isinstance(things, str | bytes):
            text = f"{whose} gives a {type(things).__name__}, not a sequence of {kind.__name__}"
            problems.append(Problem(text, code))
            continue
        own = entry.dist is not None and entry.dist.name == _OWN
        yield from (Offer(whose, own, thing) for thing in things)


def said(error: Exception) -> str:
    """An exception of somebody else's code in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def _whose(entry: EntryPoint) -> str:
    package = f"the package {entry.dist.name} {entry.dist.version}" if entry.dist else "an installed package"
    return f"{package} (entry point {entry.name} = {entry.value})"
