"""Typed filters and keyset pages over a wide table. Values are bound and names come from a list: no user's
SQL.
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, TypeAlias

import duckdb
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, TypeAdapter, ValidationError

from ranking import duck
from ranking.errors import UnknownNameError, UsageError
from ranking.features.fields import Field as Column
from ranking.validation import first_flaw

MAX_DEPTH = 6
MAX_LEAVES = 64
MAX_IN = 1000
MAX_LIMIT = 10_000

Op = Literal["eq", "ne", "gt", "gte", "lt", "lte", "in", "isnull"]
_COMPARE = {"eq": "=", "ne": "<>", "gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
Scalar: TypeAlias = bool | int | float | str
Columns: TypeAlias = Mapping[str, Column]


class _Node(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, strict=True)


class Leaf(_Node):
    """One comparison of a field with a value. A comparison with null is neither true nor false, as in SQL, so
    `not` does not turn it into a match; ask with `isnull`, whose value is true or false.
    """

    field: str
    op: Op = "eq"
    value: Scalar | list[Scalar]


class And(_Node):
    """All of the parts hold."""

    parts: list["Filter"] = Field(alias="and", min_length=1)


class Or(_Node):
    """At least one of the parts holds."""

    parts: list["Filter"] = Field(alias="or", min_length=1)


class Not(_Node):
    """The part does not hold."""

    part: "Filter" = Field(alias="not")


def _kind(value: Any) -> str:
    if isinstance(value, BaseModel):
        return type(value).__name__.lower()
    keys = set(value) & {"and", "or", "not"} if isinstance(value, dict) else set()
    return keys.pop() if len(keys) == 1 else "leaf"


Filter = Annotated[
    Annotated[Leaf, Tag("leaf")] | Annotated[And, Tag("and")] | Annotated[Or, Tag("or")] | Annotated[Not, Tag("not")],
    Discriminator(_kind),
]
"""A tree such as {"and": [{"field": "is_tie", "value": false}, {"not": {"field": "rater", "op": "in",
"value": […]}}]}.
"""

FilterNode: TypeAlias = Leaf | And | Or | Not
_ADAPTER: TypeAdapter[FilterNode] = TypeAdapter(Filter)


def parse_filter(tree: Any) -> FilterNode:
    """The filter of a JSON tree; UsageError in one line if it is malformed, deeper than 6 or larger than 64
    leaves.
    """
    check_size(tree)
    try:
        return _ADAPTER.validate_python(tree)
    except ValidationError as error:
        flaw = first_flaw(error)
        raise UsageError(
            f"the filter does not fit at {flaw.where or 'top'}: {flaw.message}", code="bad-filter"
        ) from error


def check_size(tree: Any) -> None:
    """UsageError unless a filter's tree (JSON or parsed) is at most 6 deep with at most 64 leaves."""
    leaves, waiting = 0, [(tree, 1)]
    while waiting:
        node, depth = waiting.pop()
        if depth > MAX_DEPTH:
            raise UsageError(f"the filter is deeper than {MAX_DEPTH}", code="bad-filter", hint="flatten it")
        parts = _parts(node)
        leaves += not parts
        if leaves > MAX_LEAVES or len(waiting) > MAX_LEAVES:
            raise UsageError(f"the filter has more than {MAX_LEAVES} parts", code="bad-filter", hint="use `in`")
        waiting += [(part, depth + 1) for part in parts]


def _parts(node: Any) -> list[Any]:
    if isinstance(node, And | Or):
        return list(node.parts)
    if isinstance(node, Not):
        return [node.part]
    if not isinstance(node, dict):
        return []
    parts: list[Any] = []
    for key in ("and", "or"):
        if isinstance(node.get(key), list):
            parts += node[key]
    return [*parts, node["not"]] if "not" in node else parts


def parse_url_filters(pairs: Iterable[tuple[str, str]], columns: Columns) -> FilterNode | None:
    """The filter that all of the `field__op=value` pairs ask for ("eq" without an op; `in` splits at commas),
    or None.

    Text is read by the field's kind: numbers, true/false, ISO 8601 times.
    """
    leaves = []
    for name, text in pairs:
        plain = name in columns or "__" not in name
        field, _, op = (name, "", "eq") if plain else name.rpartition("__")
        if op not in (*_COMPARE, "in", "isnull"):
            raise UnknownNameError.among("filter operator", op, (*_COMPARE, "in", "isnull"))
        column = known_column(field, columns)
        kind = "boolean" if op == "isnull" else column.kind
        values = [_from_text(part, kind, field) for part in (text.split(",") if op == "in" else [text])]
        leaves.append({"field": field, "op": op, "value": values if op == "in" else values[0]})
    return parse_filter({"and": leaves}) if leaves else None


def known_column(name: str, columns: Columns) -> Column:
    """The column of this name; UnknownNameError with near matches if there is none."""
    if name not in columns:
        raise UnknownNameError.among("field", name, columns)
    return columns[name]


def fields_in(node: FilterNode | None) -> list[str]:
    """The fields that a filter names, in its order."""
    if node is None:
        return []
    if isinstance(node, Leaf):
        return [node.field]
    parts = [node.part] if isinstance(node, Not) else node.parts
    return [name for part in parts for name in fields_in(part)]


def compile_filter(node: FilterNode | None, columns: Columns) -> tuple[str, list[Any]]:
    """A SQL condition and its parameters. Only names in `columns` get into the text; every value is a
    parameter.

    Raises UnknownNameError for an unknown field and UsageError for a value that does not fit the field's
    kind.
    """
    if node is None:
        return "true", []
    if isinstance(node, Leaf):
        return _compile_leaf(node, known_column(node.field, columns))
    if isinstance(node, Not):
        text, params = compile_filter(node.part, columns)
        return f"(NOT {text})", params
    compiled = [compile_filter(part, columns) for part in node.parts]
    word = " AND " if isinstance(node, And) else " OR "
    return f"({word.join(text for text, _ in compiled)})", [value for _, params in compiled for value in params]


def _compile_leaf(leaf: Leaf, column: Column) -> tuple[str, list[Any]]:
    name = duck.identifier(column.name)
    if leaf.op == "isnull":
        if not isinstance(leaf.value, bool):
            raise UsageError(f"isnull of {column.name} needs true or false", code="bad-filter")
        return f"({name} IS {'' if leaf.value else 'NOT '}NULL)", []
    if leaf.op == "in":
        if not isinstance(leaf.value, list) or not 1 <= len(leaf.value) <= MAX_IN:
            raise UsageError(f"in of {column.name} needs a list of 1 to {MAX_IN} values", code="bad-filter")
        marks = ", ".join("?" for _ in leaf.value)
        return f"({name} IN ({marks}))", [bindable(value, column) for value in leaf.value]
    if isinstance(leaf.value, list):
        raise UsageError(f"{leaf.op} of {column.name} needs one value", code="bad-filter", hint="use in for a list")
    return f"({name} {_COMPARE[leaf.op]} ?)", [bindable(leaf.value, column)]


def bindable(value: Any, column: Column) -> Any:
    """`value` as it is compared with the column; UsageError if it does not fit the column's kind."""
    if column.kind == "boolean" and isinstance(value, bool):
        return value
    if column.kind == "text" and isinstance(value, str):
        return value
    if column.kind == "number" and isinstance(value, int | float) and _is_number(value):
        return float(value)
    if column.kind == "time" and isinstance(value, str | datetime):
        return _time(value, column.name)
    raise UsageError(f"{value!r} cannot be compared with {column.name}, which is a {column.kind}", code="bad-filter")


def _is_number(value: int | float) -> bool:
    # 2**53: beyond it a float is no longer the integer that was asked for.
    return not isinstance(value, bool) and (abs(value) <= 2**53 if isinstance(value, int) else math.isfinite(value))


def _time(value: str | datetime, name: str) -> datetime:
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    except ValueError as error:
        raise UsageError(f"{value!r} is no time for {name}", code="bad-filter", hint="use ISO 8601") from error
    # Stored times are UTC without a zone.
    return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment


def _from_text(text: str, kind: str, name: str) -> Scalar:
    if kind == "boolean":
        if text.lower() in ("true", "1", "false", "0"):
            return text.lower() in ("true", "1")
        raise UsageError(f"{text!r} is not true or false, as {name} needs", code="bad-filter")
    if kind == "number":
        if not re.fullmatch(r"\s*[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?\s*", text, re.ASCII):
            raise UsageError(f"{text!r} is not a number, as {name} needs", code="bad-filter")
        return float(text)
    return text


@dataclass(frozen=True)
class Page:
    """Rows of one page, and the `after` of the next one; None if this was the last."""

    rows: pa.Table
    next_after: tuple[Any, str] | None


def page(
    con: duckdb.DuckDBPyConnection,
    relation: str,
    *,
    columns: Columns,
    filter: FilterNode | None = None,
    sort: str = "pair_id",
    descending: bool = False,
    after: tuple[Any, str] | None = None,
    limit: int = 100,
) -> Page:
    """The next `limit` rows (1 to 10 000) of `relation`, what stands in a FROM clause of `con`, with these columns and
    unique pair_id.

    Rows come by `sort`, nulls last in either direction, and by ascending pair_id where that is equal; `after`
    is the (sort value, pair_id) of the last row seen. Pages put together are the whole sorted result, each
    row once.
    """
    if not 1 <= limit <= MAX_LIMIT:
        raise UsageError(f"a page cannot have {limit} rows", code="bad-limit", hint=f"ask for 1 to {MAX_LIMIT}")
    column = known_column(sort, columns)
    condition, params = compile_filter(filter, columns)
    key, direction = duck.identifier(sort), "DESC" if descending else "ASC"
    if after is not None:
        beyond, more = _beyond(key, after, column, descending=descending)
        condition, params = f"{condition} AND {beyond}", [*params, *more]
    rows = duck.arrow(
        con,
        f"SELECT * FROM {relation} WHERE {condition} "
        f"ORDER BY {key} {direction} NULLS LAST, pair_id ASC LIMIT {int(limit) + 1}",
        params,
    )
    if rows.num_rows <= limit:
        return Page(rows, None)
    rows = rows.slice(0, limit)
    return Page(rows, (rows[sort][-1].as_py(), rows["pair_id"][-1].as_py()))


def _beyond(key: str, after: tuple[Any, str], column: Column, *, descending: bool) -> tuple[str, list[Any]]:
    value, pair_id = after
    if not isinstance(pair_id, str):
        raise UsageError("a page position needs a pair id", code="bad-cursor")
    if value is None:
        return f"({key} IS NULL AND pair_id > ?)", [pair_id]
    bound = bindable(value, column)
    sign = "<" if descending else ">"
    return f"({key} {sign} ? OR ({key} = ? AND pair_id > ?) OR {key} IS NULL)", [bound, bound, pair_id]
