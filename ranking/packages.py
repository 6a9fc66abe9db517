"""What installed packages offer through entry points: which of it is used, and what is wrong with the rest. One
package's trouble is told in a line and harms no other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, Protocol, TypeVar

from ranking.errors import PairsieveError

_OWN = "pairsieve"


class Named(Protocol):
    """What packages may offer."""

    @property
    def name(self) -> str: ...


T = TypeVar("T", bound=Named)


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
class Offered(Generic[T]):
    """Things by name, Pairsieve's first; whose those are that are not Pairsieve's, in words; and what is not used."""

    things: dict[str, T]
    whose: dict[str, str]
    problems: tuple[Problem, ...]


def offered(
    group: str, kind: type[T], built_in: Mapping[str, T], *, called: str, flaw: Callable[[Any], str | None]
) -> Offered[T]:
    """Things of a kind: the built-in ones and those that the entry points of a group list, in the
    order of their names. Raises nothing for what is wrong with a third party's.

    `flaw` says what is wrong with one that is listed, if anything; `called` is what people call such a thing. Where a
    package takes a name of ours, ours stays; where two packages take one name, neither has it. Problems have the codes
    "<called>-package" and "<called>-name-taken".
    """
    bad, taken = f"{called}-package", f"{called}-name-taken"
    found: dict[str, Any] = dict(built_in)
    problems: list[Problem] = []
    claims: dict[str, list[tuple[str, Any]]] = {}
    for entry in _entries(group):
        claimant = _whose(entry)
        for thing in _listed(entry, claimant, kind, problems, code=bad):
            wrong = flaw(thing)
            if wrong is not None:
                name = thing.name if isinstance(thing, kind) and isinstance(thing.name, str) else None
                problems.append(Problem(f"{claimant} {wrong}", bad, name))
            elif entry.dist is not None and entry.dist.name == _OWN:
                found[thing.name] = thing
            else:
                claims.setdefault(thing.name, []).append((claimant, thing))
    whose: dict[str, str] = {}
    for name, claim in claims.items():
        claimants = " and ".join(claimant for claimant, _ in claim)
        if name in found:
            text = f"{claimants} names a {called} {name!r} that Pairsieve has; Pairsieve's own is used"
            problems.append(Problem(text, taken))
        elif len(claim) > 1:
            problems.append(Problem(f"{claimants} both name a {called} {name!r}", taken, name))
        else:
            whose[name], found[name] = claim[0]
    return Offered(found, whose, tuple(problems))


def _entries(group: str) -> list[EntryPoint]:
    try:
        return sorted(entry_points(group=group), key=lambda entry: (entry.name, entry.value))
    except OSError as error:
        # Not a package's trouble but the machine's, and it may pass: an error, so that nobody keeps a half-read list.
        raise PairsieveError(
            f"the list of installed packages cannot be read ({error.strerror})",
            code="packages-unreadable",
            hint="try again",
        ) from error


def _listed(entry: EntryPoint, claimant: str, kind: type, problems: list[Problem], *, code: str) -> Iterator[Any]:
    try:
        things = entry.load()
    except Exception as error:  # a third party's module may raise anything
        problems.append(Problem(f"{claimant} cannot be imported: {said(error)}", code))
        return
    if not isinstance(things, Sequence) or isinstance(things, str | bytes):
        text = f"{claimant} gives a {type(things).__name__}, not a sequence of {kind.__name__}"
        problems.append(Problem(text, code))
        return
    yield from things


def said(error: Exception) -> str:
    """An exception of somebody else's code in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def _whose(entry: EntryPoint) -> str:
    package = f"the package {entry.dist.name} {entry.dist.version}" if entry.dist else "an installed package"
    return f"{package} (entry point {entry.name} = {entry.value})"
