"""The ten invariants, and what an audit has to say about them. Checks nothing itself."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

from ranking.errors import PairsieveError

Severity = Literal["error", "note"]
Progress = Callable[[str, int, int], None]
"""Called as progress(what, done, total)."""

INVARIANTS: dict[int, str] = {
    1: "planned units are committed at most once: done, dead with a reason, or open",
    2: "each scorer's rows are the slice's items, every one once, in their order",
    3: "every named file has the sha256, bytes and rows that are recorded",
    4: "nothing names what is not there",
    5: "snapshots, revisions and subsets hash to what they say and follow from each other",
    6: "no score is NaN or infinite, and none is missing without a status",
    7: "nothing unfinished or unnamed outlives its time, nothing named is in the trash",
    8: "wide tables and subsets are what a plain recomputation gives",
    9: "nothing is stuck: what is open can be taken up, what failed too often is given up",
    10: "nothing leaks: no hints, claims or messages of what is gone",
}
"""What must hold of every store at every moment."""

RESTORE = "restore it from a copy of the store"


@dataclass(frozen=True)
class Finding:
    """Something that does not hold (an error) or should be known (a note): which invariant, which key, what
    is wrong in one line and what to do."""

    invariant: int
    severity: Severity
    key: str
    what: str
    todo: str


@dataclass(frozen=True)
class AuditReport:
    """The findings, by invariant and key; how much of what was looked at for each invariant; whether files
    were hashed and read (`deep`)."""

    findings: tuple[Finding, ...]
    looked: dict[int, dict[str, int]]
    deep: bool

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings that say something is wrong."""
        return tuple(each for each in self.findings if each.severity == "error")

    @property
    def ok(self) -> bool:
        """Whether every invariant holds, as far as was looked."""
        return not self.errors


@dataclass
class Ledger:
    """Where the checks write down what they see; `damaged` are keys whose content means nothing, so that one
    flaw is not told ten times."""

    progress: Progress
    findings: list[Finding] = field(default_factory=list)
    looked: dict[int, dict[str, int]] = field(default_factory=lambda: {number: {} for number in INVARIANTS})
    damaged: set[str] = field(default_factory=set)

    def error(self, invariant: int, key: str, what: str, todo: str = RESTORE) -> None:
        """Something is wrong with `key`."""
        self.findings.append(Finding(invariant, "error", key, what, todo))

    def note(self, invariant: int, key: str, what: str, todo: str = "") -> None:
        """Something about `key` that people should know."""
        self.findings.append(Finding(invariant, "note", key, what, todo))

    def count(self, invariant: int, what: str, number: int = 1) -> None:
        """So much more was looked at."""
        counts = self.looked[invariant]
        counts[what] = counts.get(what, 0) + number

    @contextmanager
    def expecting(self, invariant: int, key: str, *, todo: str = RESTORE) -> Iterator[None]:
        """Whatever of ours is raised inside is an error with `key`, and the audit goes on."""
        try:
            yield
        except PairsieveError as error:
            self.error(invariant, key, error.message, todo)

    def report(self, *, deep: bool) -> AuditReport:
        """All of it, sorted."""
        findings = sorted(set(self.findings), key=lambda each: (each.invariant, each.severity, each.key, each.what))
        return AuditReport(tuple(findings), self.looked, deep)
