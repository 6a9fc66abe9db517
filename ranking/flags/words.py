"""The words of a flag: its kinds, who says it, why, and by which door. Stores nothing."""

import getpass
import unicodedata

from ranking.errors import UnknownNameError, UsageError

KINDS = {
    "wrong_label": "the label names the worse image",
    "both_bad": "neither image is fit to be learnt from",
    "unsafe": "an image or the prompt should be shown to nobody",
    "duplicate": "it says the same as another pair",
}
"""The kinds of marks, and what each means."""

DOORS = ("cli", "api", "dashboard", "import")
"""Where a flag may have come in."""

MAX_WHO = 100
MAX_WHY = 1000

_HIDDEN = {"Cc", "Cs", "Co", "Cn"}


def check_kind(text: str) -> str:
    """The kind that a person means, with hyphens or underscores; UnknownNameError that lists the near ones."""
    kind = text.strip().lower().replace("-", "_").replace(" ", "_")
    if kind not in KINDS:
        raise UnknownNameError.among("kind of mark", text, KINDS)
    return kind


def check_who(text: str) -> str:
    """Who flags, in one line of 1 to 100 characters; UsageError otherwise."""
    who = _one_line("the name of who flags", text, most=MAX_WHO)
    if not who:
        raise UsageError("a flag needs a name: who says so", code="bad-flag", hint="give it with --by")
    return who


def check_why(text: str, *, needed: bool = False) -> str:
    """A note of one line, at most 1,000 characters; UsageError otherwise, or where it is `needed` and empty."""
    why = _one_line("the note", text, most=MAX_WHY)
    if needed and not why:
        raise UsageError("a take-down needs a reason", code="bad-flag", hint="give it with --reason")
    return why


def check_door(text: str) -> str:
    """One of DOORS; UnknownNameError otherwise."""
    if text not in DOORS:
        raise UnknownNameError.among("door", text, DOORS)
    return text


def this_person() -> str:
    """The operating system's name for who runs this process; "unknown" where it has none."""
    try:
        return check_who(getpass.getuser())
    except (KeyError, OSError, ImportError, UsageError):  # a user id without an entry, as in some containers
        return "unknown"


def _one_line(what: str, text: str, *, most: int) -> str:
    line = " ".join(text.split())
    if len(line) > most:
        raise UsageError(f"{what} has {len(line):,} characters", code="bad-flag", hint=f"{most:,} are the most")
    odd = next((char for char in line if unicodedata.category(char) in _HIDDEN), None)
    if odd is not None:
        raise UsageError(f"{what} holds the character U+{ord(odd):04X}", code="bad-flag", hint="write plain text")
    return line
