"""What pydantic found wrong with outside input, in a form that fits into one line of ours."""

from dataclasses import dataclass

from pydantic import ValidationError


@dataclass(frozen=True)
class Flaw:
    """The first flaw: the path of keys to it, what is wrong, and whether the key itself is one too many."""

    path: tuple[str, ...]
    message: str
    unknown_key: bool

    @property
    def where(self) -> str:
        """The path with dots between; "" for the value as a whole."""
        return ".".join(self.path)


def first_flaw(error: ValidationError) -> Flaw:
    """The first flaw of a failed validation.

    Takes the tracebacks off the errors that pydantic keeps: it holds them where the garbage collector cannot see,
    and they would keep every frame they passed alive to the end of the process.
    """
    details = error.errors()
    for detail in details:
        inner = detail.get("ctx", {}).get("error")
        if isinstance(inner, Exception):
            inner.__traceback__ = None
    first = details[0]
    return Flaw(
        path=tuple(str(part) for part in first["loc"]),
        message=first["msg"].removeprefix("Value error, "),
        unknown_key=first["type"] == "extra_forbidden",
    )
