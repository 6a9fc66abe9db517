"""What pydantic found wrong with outside input, in a form that fits into one line of ours."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import yaml
from pydantic import ValidationError

_WORDS = {
    "missing": "missing",
    "greater_than": "must be above {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be below {lt}",
    "less_than_equal": "must be at most {le}",
    "finite_number": "must be a finite number",
    "literal_error": "must be {expected}",
    "model_type": "must be a map of keys",
    "dict_type": "must be a map of keys",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "string_type": "must be a text",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "too_short": "must have {min_length} or more",
}
"""What pydantic's types of errors are called here; others keep its own words."""
_ALTERNATIVES = {"leaf"}
"""What pydantic puts into a path where it chose among alternatives, and nobody wrote."""


@dataclass(frozen=True)
class Flaw:
    """The first flaw: the path of keys to it (`[2]` for the third of a list), what is wrong, and whether the key itself
    is one too many."""

    path: tuple[str, ...]
    message: str
    unknown_key: bool

    @property
    def where(self) -> str:
        """The path with dots between, such as "where.and[1].op"; "" for the value as a whole."""
        return ".".join(self.path).replace(".[", "[")


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
        path=_path(first["loc"]),
        message=_message(first["type"], first["msg"], first.get("ctx", {}), first.get("input")),
        unknown_key=first["type"] == "extra_forbidden",
    )


def syntax_flaw(error: Exception) -> str:
    """What is wrong with a text that is no YAML or JSON, in one line that says where."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"line {mark.line + 1}, column {mark.column + 1}: {error.problem or error.context or 'not expected'}"
    return str(error)


def _path(keys: tuple[int | str, ...]) -> tuple[str, ...]:
    """The keys that were written: an alternative's name is left out, also where it is that of the key after it."""
    written = [
        key for key, after in pairwise((*keys, None)) if key is not None and key != after and key not in _ALTERNATIVES
    ]
    return tuple(f"[{key}]" if isinstance(key, int) else key for key in written)


def _message(kind: str, said: str, context: dict[str, Any], given: Any) -> str:
    if kind not in _WORDS:
        return said.removeprefix("Value error, ")
    plain = {key: f"{value:g}" if isinstance(value, float) else value for key, value in context.items()}
    words = _WORDS[kind].format_map(plain)
    short = isinstance(given, bool | int | float) or (isinstance(given, str) and len(given) <= 40)
    return f"{words}, not {given!r}" if short and kind != "missing" else words
