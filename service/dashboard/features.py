"""What a pair's page says of derived fields: by where they come from, a table of those of each scorer, and why its
label is believed. Words only; every number comes with the pair."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

from ranking.confidence.reasons import Reasons, reasons
from ranking.features.fields import Field
from service.api.models import PairOut
from service.dashboard.text import number
from service.snapshots import Table

CONFIDENCE: Final = "label_confidence"
_HEADINGS: Final = {
    "prompt": "The prompt's text",
    "labels": "Labels",
    "images": "Images",
    "pair": "Models and judges",
    "scores": "All scorers together",
    "ratings": "Ratings",
    "flags": "Flags",
}


@dataclass(frozen=True)
class Fact:
    """A field and its value as text; the address of pairs with the same, where that is worth a click."""

    name: str
    meaning: str
    text: str
    href: str | None


@dataclass(frozen=True)
class Features:
    """Facts under their headings; per scorer (`scorers`) the values of the parts (`parts`: name and meaning); and of
    what nobody has asked for yet one field each, with the address that computes it and what comes with it."""

    groups: list[tuple[str, list[Fact]]]
    parts: list[tuple[str, str]]
    scorers: list[tuple[str, list[str]]]
    missing: list[tuple[str, str]]


def features(table: Table, pair: PairOut, scorers: list[str]) -> Features:
    """The derived fields of a pair that are there, and those that are not yet."""
    groups: dict[str, list[Fact]] = {heading: [] for heading in _HEADINGS.values()}
    of_scorers = {f"{name}.": name for name in scorers}
    cells: dict[str, dict[str, tuple[str, str]]] = {name: {} for name in scorers}
    for field in table.columns.values():
        if field.name not in table.features:
            continue
        owner = next((name for prefix, name in of_scorers.items() if field.name.startswith(prefix)), None)
        if field.name not in pair.features:
            continue
        if owner is not None:
            part = field.name.removeprefix(f"{owner}.")
            cells[owner][part] = _text(field, pair.features), field.meaning.replace(owner, "the scorer")
        elif pair.features[field.name] is not None:
            groups[_HEADINGS[field.group]].append(_fact(field, pair))
    # What is computed together is named once.
    firsts = [columns.fields[0].name for columns in table.beside.pairs.column_sets.values()]
    missing = [(name, _address(pair, {"sort": f"-{name}"})) for name in firsts if name not in pair.features]
    known = {part: meaning for found in cells.values() for part, (_, meaning) in found.items()}
    bases = list(dict.fromkeys(map(_base, known)))
    parts = {part: known[part] for part in sorted(known, key=lambda part: (bases.index(_base(part)), part))}
    return Features(
        [(heading, facts) for heading, facts in groups.items() if facts],
        list(parts.items()),
        [(name, [found.get(part, ("–", ""))[0] for part in parts]) for name, found in cells.items() if found],
        missing,
    )


def why_believed(table: Table, pair: PairOut) -> Reasons | None:
    """Why the label is believed or not; None for a tie, and before anybody asked for label confidence."""
    if pair.winner is None or pair.features.get(CONFIDENCE) is None:
        return None
    return reasons(table.beside.pairs, pair.pair_id)


def _base(part: str) -> str:
    """A part without its side, so that both sides of one thing stand together."""
    return part.removesuffix("_0").removesuffix("_1")


def _fact(field: Field, pair: PairOut) -> Fact:
    value = pair.features[field.name]
    same = None
    if field.kind in ("text", "boolean") and value is not None:
        same = _address(pair, {field.name: str(value).lower() if isinstance(value, bool) else str(value)})
    return Fact(field.name, field.meaning, _text(field, pair.features), same)


def _text(field: Field, values: Mapping[str, Any]) -> str:
    value = values[field.name]
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else number(value)


def _address(pair: PairOut, query: Mapping[str, str]) -> str:
    return f"/pairs?{urlencode({'dataset': pair.dataset, **query})}"
