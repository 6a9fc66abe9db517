"""Filters as keywords, `field__op=value`, and how much to take as a word: "5.33%". Parses; runs nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, get_args

import numpy as np

from ranking.errors import UnknownNameError, UsageError
from ranking.features.fields import Field
from ranking.query import And, FilterNode, Op, compile_filter, parse_filter

OPERATORS: tuple[str, ...] = get_args(Op)


def keyword_filters(conditions: Mapping[str, Any], fields: Mapping[str, Field]) -> list[dict[str, Any]]:
    """A leaf of a filter tree for each `field=value` or `field__op=value`. A list, tuple or set without an op means
    `in`, None means `isnull`. UnknownNameError for a field or operator that does not exist."""
    leaves = []
    for name, value in conditions.items():
        field, separator, op = (name, "", "") if name in fields else name.rpartition("__")
        if not separator:
            field, op = name, "in" if isinstance(value, list | tuple | set | frozenset) else "eq"
        if field not in fields:
            raise UnknownNameError.among("field", field, fields)
        if op not in OPERATORS:
            raise UnknownNameError.among("filter operator", op, OPERATORS)
        if value is None:
            if op not in ("eq", "ne"):
                raise UsageError(f"{name} cannot be compared with None", code="bad-filter", hint="use isnull")
            op, value = "isnull", op == "eq"
        leaves.append({"field": field, "op": op, "value": _plain(value)})
    return leaves


def joined(filter: FilterNode | None, parts: Iterable[Any], fields: Mapping[str, Field]) -> FilterNode | None:
    """A filter that holds where `filter` and all of the parts (trees or parsed) do, checked against the fields. Errors
    are those of `ranking.query`."""
    nodes = [parse_filter(part) for part in parts]
    known: list[Any] = [] if filter is None else list(filter.parts) if isinstance(filter, And) else [filter]
    if not nodes:
        return filter
    every = [*known, *nodes]
    whole = every[0] if len(every) == 1 else parse_filter({"and": [node.model_dump(by_alias=True) for node in every]})
    compile_filter(whole, fields)
    return whole


def amount(much: str | float, *, option: str = "") -> dict[str, float | int]:
    """{"percent": 5.33} of "5.33%", {"count": 500} of 500 or "500"; UsageError for anything else, which names the
    option that it came by."""
    try:
        if isinstance(much, str) and much.endswith("%"):
            return {"percent": float(much[:-1])}
        if isinstance(much, bool) or (isinstance(much, float) and not much.is_integer()):
            raise ValueError
        return {"count": int(much)}
    except ValueError as error:
        raise UsageError(f"{option} {much!r} is neither a percentage nor a count", hint="write 5.33% or 500") from error


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple | set | frozenset | np.ndarray):
        return [_plain(each) for each in (sorted(value) if isinstance(value, set | frozenset) else value)]
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, datetime):
        return value.isoformat()
    return float(value) if isinstance(value, Decimal) else value
