"""Every error Pairsieve raises on purpose: one line that says what, where and what to do. Not a place for
control flow."""

import difflib
from collections.abc import Iterable

UNUSABLE = "store-unusable"
"""The code of a store that is out of reach, full or read-only just now: nothing in it is wrong."""


class PairsieveError(Exception):
    """Base of our errors; `str(error)` is one line, "what, where; what to do".

    `code` is a stable word for machines (API problems, tests), `hint` the next step, `exit_code` the exit
    status of the command line (1 failed, 2 bad usage).
    """

    default_code = "failed"
    default_exit_code = 1

    def __init__(self, message: str, *, code: str | None = None, hint: str = "", exit_code: int | None = None) -> None:
        super().__init__(message)
        self.message = _one_line(message)
        self.hint = _one_line(hint)
        self.code = code or self.default_code
        self.exit_code = self.default_exit_code if exit_code is None else exit_code

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message


class UsageError(PairsieveError):
    """The request itself is wrong: a bad name, option, recipe or filter."""

    default_code = "usage"
    default_exit_code = 2


class SourceError(PairsieveError):
    """Input that cannot be ingested or read: missing, not Parquet, without the needed columns, with bad
    rows."""

    default_code = "source"


class StoreError(PairsieveError):
    """The store cannot be used, or something in it is damaged."""

    default_code = "store"


class NotFoundError(PairsieveError):
    """A name or number that is well-formed but that nothing in the store has."""

    default_code = "not-found"


class UnknownNameError(UsageError):
    """A name outside a known set; the message lists the near matches, or the set when it is small."""

    default_code = "unknown-name"

    @classmethod
    def among(cls, kind: str, name: str, known: Iterable[str]) -> "UnknownNameError":
        """The error for `name`, which is not one of the `known` names of that `kind`."""
        names = sorted(set(known))
        near = difflib.get_close_matches(name, names, n=5, cutoff=0.5)
        if not near and "." in name:
            near = [each for each in names if each.endswith(name[name.rindex(".") :])][:5]
        if near:
            hint = f"did you mean {', '.join(near)}"
        elif not names:
            hint = f"there is no {kind} yet"
        else:
            more = f" and {len(names) - 20} more" if len(names) > 20 else ""
            hint = f"there are {', '.join(names[:20])}{more}"
        return cls(f"unknown {kind} {name!r}", hint=hint)


class EmptySubsetError(PairsieveError):
    """A recipe that would select no pair."""

    default_code = "empty-subset"


class RowError(PairsieveError):
    """One row or image is unusable. `status` is what its score row records; the job goes on."""

    default_code = "row"

    def __init__(self, message: str, *, status: str = "error", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.status = status


def _one_line(text: str) -> str:
    return " ".join(text.split())
