"""Filters that nothing can pass because two of their parts exclude each other. Finds plain contradictions, not all."""

from collections.abc import Iterator
from itertools import combinations
from typing import Any

from ranking.query import And, FilterNode, Leaf, Not, Or

Place = tuple[str, Leaf]
_ORDER = {"gt": ">", "gte": "≥", "lt": "<", "lte": "≤", "eq": "=", "ne": "≠", "in": "in"}
_NEGATED = {"gt": "lte", "gte": "lt", "lt": "gte", "lte": "gt", "eq": "ne", "ne": "eq"}


def leaves(node: FilterNode | None, place: str = "where") -> Iterator[Place]:
    """Every comparison of a filter with its place, such as `where.and[1].not`."""
    if isinstance(node, Leaf):
        yield place, node
    elif isinstance(node, Not):
        yield from leaves(node.part, f"{place}.not")
    elif node is not None:
        word = "and" if isinstance(node, And) else "or"
        for index, part in enumerate(node.parts):
            yield from leaves(part, f"{place}.{word}[{index}]")


def contradiction(node: FilterNode | None, place: str = "where") -> tuple[Place, Place] | None:
    """Two comparisons that must both hold for the filter to pass, and cannot; None if none are found.

    Looked at are pairs of comparisons of one field that are joined by `and`, negated or not: two values, a value
    outside a bound, bounds that cross, and a comparison beside `isnull`, as a comparison with null never holds. An `or`
    contradicts itself where each of its parts does.
    """
    joined = list(_joined(node, place))
    for first, second in combinations([each for each in joined if not isinstance(each[1], Or)], 2):
        one, other = first[1], second[1]
        assert isinstance(one, Leaf) and isinstance(other, Leaf)
        if one.field == other.field and _exclude(one, other):
            return (first[0], one), (second[0], other)
    for inside, part in joined:
        if isinstance(part, Or):
            found = [contradiction(each, f"{inside}.or[{index}]") for index, each in enumerate(part.parts)]
            if all(found):
                return found[0]
    return None


def said(leaf: Leaf) -> str:
    """A comparison in words: `label_confidence ≥ 0.6`."""
    if leaf.op == "isnull":
        return f"{leaf.field} is {'' if leaf.value else 'not '}null"
    value = leaf.value
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return f"{leaf.field} {_ORDER[leaf.op]} {text if len(text) <= 60 else text[:57] + '…'}"


def _joined(node: FilterNode | None, place: str) -> Iterator[tuple[str, Leaf | Or]]:
    """What must hold all at once: comparisons (a negated one as its opposite) and alternatives."""
    if isinstance(node, Leaf | Or):
        yield place, node
    elif isinstance(node, And):
        for index, part in enumerate(node.parts):
            yield from _joined(part, f"{place}.and[{index}]")
    elif isinstance(node, Not) and isinstance(node.part, Not):
        yield from _joined(node.part.part, f"{place}.not.not")
    elif isinstance(node, Not) and isinstance(node.part, Leaf):
        leaf = node.part
        if leaf.op == "isnull":
            yield f"{place}.not", Leaf(field=leaf.field, op="isnull", value=not leaf.value)
        elif leaf.op in _NEGATED:
            # Neither a comparison with null nor its negation holds, so the opposite says the same.
            yield f"{place}.not", leaf.model_copy(update={"op": _NEGATED[leaf.op]})


def _exclude(one: Leaf, other: Leaf) -> bool:
    if "isnull" in (one.op, other.op):
        null, compared = (one, other) if one.op == "isnull" else (other, one)
        if compared.op == "isnull":
            return bool(one.value) is not bool(other.value)
        return null.value is True
    values = _values(one), _values(other)
    if values[0] is not None:
        return not any(_holds(value, other) for value in values[0])
    if values[1] is not None:
        return not any(_holds(value, one) for value in values[1])
    low, high = (one, other) if one.op in ("gt", "gte") else (other, one)
    if low.op not in ("gt", "gte") or high.op not in ("lt", "lte"):
        return False
    strict = low.op == "gt" or high.op == "lt"
    return _less(high.value, low.value) or (strict and bool(high.value == low.value))


def _values(leaf: Leaf) -> list[Any] | None:
    if leaf.op == "in":
        return list(leaf.value) if isinstance(leaf.value, list) else [leaf.value]
    return [leaf.value] if leaf.op == "eq" else None


def _holds(value: Any, leaf: Leaf) -> bool:
    wanted: Any = leaf.value
    if leaf.op in ("eq", "in"):
        return value in wanted if isinstance(wanted, list) else bool(value == wanted)
    if leaf.op == "ne":
        return bool(value != wanted)
    if leaf.op in ("gt", "gte"):
        return _less(wanted, value) or (leaf.op == "gte" and bool(value == wanted))
    return _less(value, wanted) or (leaf.op == "lte" and bool(value == wanted))


def _less(one: Any, other: Any) -> bool:
    """Values of different kinds are not ordered; the filter is refused elsewhere."""
    try:
        return bool(one < other)
    except TypeError:
        return True
