"""The pair browser's state as a URL, both ways: every link keeps what it does not change. No form parsing
elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import urlencode

OWN: Final = frozenset({"dataset", "sort", "cursor", "hist", "blind"})
"""Parameters with a meaning of their own; every other one is a filter."""

FORM: Final = frozenset({"by", "order", "show", "field", "op", "value"})
"""What the form sends beside them; a redirect turns it into the canonical URL."""

OPERATORS: Final[dict[str, str]] = {
    "eq": "=",
    "ne": "≠",
    "gte": "≥",
    "gt": ">",
    "lte": "≤",
    "lt": "<",
    "in": "one of",
    "isnull": "is empty",
}


@dataclass(frozen=True)
class Chip:
    """A filter as people read it, and the URL without it."""

    label: str
    remove: str


@dataclass(frozen=True)
class Shortcut:
    """A listing worth a click, and whether it is the one shown."""

    label: str
    href: str
    current: bool


@dataclass(frozen=True)
class State:
    """What the pair browser shows."""

    dataset: str | None
    sort: str | None = None
    hist: str | None = None
    blind: bool = False
    cursor: str | None = None
    filters: tuple[tuple[str, str], ...] = ()

    def url(self) -> str:
        """The address of this state."""
        named = [
            ("dataset", self.dataset),
            ("sort", self.sort),
            *self.filters,
            ("hist", self.hist),
            ("blind", "1" if self.blind else None),
            ("cursor", self.cursor),
        ]
        query = urlencode([(name, value) for name, value in named if value is not None])
        return f"/pairs?{query}" if query else "/pairs"

    def at(self, cursor: str | None) -> str:
        """The address of another page of the same listing."""
        return replace(self, cursor=cursor).url()

    def with_filters(self, filters: Iterable[tuple[str, str]]) -> State:
        """The first page under other filters."""
        return replace(self, filters=tuple(filters), cursor=None)

    def within(self, field: str, low: float | None, high: float | None) -> str:
        """The address that keeps only low ≤ field < high, in place of earlier bounds on the field."""
        kept = [(name, value) for name, value in self.filters if name not in (f"{field}__gte", f"{field}__lt")]
        bounds = [(f"{field}__gte", low), (f"{field}__lt", high)]
        return self.with_filters([*kept, *((name, plain(value)) for name, value in bounds if value is not None)]).url()

    def shortcuts(self, scorers: Sequence[str]) -> list[Shortcut]:
        """All pairs, those whose label every scorer shares or none does, and ties."""
        views: list[tuple[str, str | None, tuple[tuple[str, str], ...]]] = [("All pairs", None, ())]
        if scorers:
            gap, every = f"{scorers[0]}.gap", str(len(scorers))
            views.append(("Every scorer agrees", f"-{gap}", (("agree_votes", every),)))
            views.append(("No scorer agrees", gap, (("votes", every), ("agree_votes", "0"))))
        views.append(("Ties", None, (("is_tie", "true"),)))
        found = []
        for label, sort, filters in views:
            state = replace(self, sort=sort, filters=filters, hist=None, cursor=None)
            found.append(Shortcut(label, state.url(), self.filters == filters))
        return found

    def chips(self) -> list[Chip]:
        """Each filter with the address that lifts it."""
        found = []
        for index, (name, value) in enumerate(self.filters):
            field, _, op = name.rpartition("__") if "__" in name else (name, "", "eq")
            label = f"{field} {OPERATORS.get(op, op)} {value}"
            if op == "isnull":
                label = f"{field} is {'empty' if value.lower() in ('true', '1') else 'not empty'}"
            found.append(Chip(label, self.with_filters(self.filters[:index] + self.filters[index + 1 :]).url()))
        return found


def plain(value: float) -> str:
    """A number as a URL has it: every digit that counts and no more."""
    return repr(value).removesuffix(".0")


def read_state(pairs: Sequence[tuple[str, str]]) -> State:
    """The state of a canonical URL."""
    own = {name: value for name, value in pairs if name in OWN and value}
    return State(
        dataset=own.get("dataset"),
        sort=own.get("sort"),
        hist=own.get("hist"),
        blind=own.get("blind") == "1",
        cursor=own.get("cursor"),
        filters=tuple((name, value) for name, value in pairs if name not in OWN | FORM),
    )


def read_form(pairs: Sequence[tuple[str, str]]) -> str | None:
    """The canonical URL of what the form sent; None if the URL is canonical already."""
    form = {name: value.strip() for name, value in pairs if name in FORM}
    if not form:
        return None
    state = read_state(pairs)
    filters = list(state.filters)
    if "show" in form:
        filters = [each for each in filters if each[0] != "is_tie"]
        if form["show"] in ("true", "false"):
            filters.append(("is_tie", form["show"]))
    if form.get("field") and form.get("value"):
        name = form["field"] if form.get("op", "eq") == "eq" else f"{form['field']}__{form['op']}"
        filters = [each for each in filters if each[0] != name]
        filters.append((name, form["value"]))
    sort = state.sort
    if form.get("by"):
        sort = form["by"] if form.get("order") == "asc" else f"-{form['by']}"
    return replace(state.with_filters(filters), sort=sort).url()
