"""What a subset's page and the comparison of two draw of their statistics: distributions side by side, and numbers in
rows. Computes none of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from ranking.subsets.catalog import Subset
from ranking.subsets.recipe import STAGES
from service.dashboard.text import number, percent

_BOX: Final = (320, 84)
_MEANS: Final = {
    "agreement": "Labels that {} shares",
    "gaps": "Mean gap of {}",
    "winners": "Mean score of winners by {}",
    "fields": "Mean {}",
}
_TITLES: Final = {"winner": "score of the winner", "gap": "winner − loser", "field": ""}


@dataclass(frozen=True)
class Step:
    """The bar of one bin in SVG units, y downwards. `label` says in words what both distributions have there."""

    x: float
    width: float
    y: float
    height: float
    label: str


@dataclass(frozen=True)
class Twin:
    """Two distributions over the same bins, each as shares of its own pairs. `outline` is an SVG path."""

    name: str
    what: str
    width: int
    height: int
    steps: list[Step]
    outline: str
    low: str
    high: str


@dataclass(frozen=True)
class Row:
    """A number of two sets of pairs, as text."""

    name: str
    first: str
    second: str


def twins(subset: Subset) -> list[Twin]:
    """The subset (bars) against its dataset (outline)."""
    return [
        _twin(each, each["after"], each["before"], ("subset", "dataset"))
        for each in subset.statistics.get("histograms", [])
    ]


def twins_of(first: Subset, second: Subset) -> list[Twin]:
    """The first subset (bars) against the second (outline), where both were counted in the same bins."""
    known = {(each["of"], each["name"]): each for each in second.statistics.get("histograms", [])}
    found = []
    for each in first.statistics.get("histograms", []):
        other = known.get((each["of"], each["name"]))
        if other is not None and other["edges"] == each["edges"]:
            found.append(_twin(each, each["after"], other["after"], ("first", "second")))
    return found


def rows(first: dict[str, Any], second: dict[str, Any]) -> list[Row]:
    """The numbers that `ranking.subsets.statistics` gives of two sets of pairs, one below the other."""
    found = [
        Row(name, _count(first.get(key)), _count(second.get(key)))
        for key, name in (
            ("pairs", "Pairs"),
            ("effective_pairs", "Effective pairs, by weight"),
            ("prompts", "Prompts"),
            ("effective_prompts", "Effective prompts"),
            ("prompt_clusters", "Clusters of near-duplicate prompts"),
            ("raters", "Raters"),
            ("ties", "Ties"),
        )
        if key in first or key in second
    ]
    for key, name in _MEANS.items():
        for each in _names(first, second, key):
            values = (part.get(key, {}).get(each) for part in (first, second))
            shown = [_share(value) if key == "agreement" else number(value, signed=key == "gaps") for value in values]
            found.append(Row(name.format(each), *shown))
    for model in _names(first, second, "models"):
        shares = [
            percent(part.get("models", {}).get(model, 0), sum(part.get("models", {}).values()))
            for part in (first, second)
        ]
        found.append(Row(f"Images by {model}", *shares))
    return found


def stages(subset: Subset) -> list[tuple[str, int]]:
    """How many pairs there were, and how many each stage of the recipe left."""
    counts = subset.statistics.get("stages")
    if not counts:
        return []
    # The record sorts its keys; a recipe is carried out in this order.
    order = {name: place for place, name in enumerate(STAGES)}
    left = sorted(counts["left"].items(), key=lambda stage: order.get(stage[0], len(order)))
    left = [(name.replace("_", " "), value) for name, value in left]
    return [("pairs of the dataset", counts["pairs"]), *left, ("taken", counts["taken"])]


def _twin(found: dict[str, Any], first: Sequence[int], second: Sequence[int], names: tuple[str, str]) -> Twin:
    width, height = _BOX
    shares = [[count / (sum(counts) or 1) for count in counts] for counts in (first, second)]
    top = max(max(each, default=0.0) for each in shares) or 1.0
    edges, step = found["edges"], width / max(len(first), 1)
    steps, path = [], f"M0 {height}"
    for index, (one, other) in enumerate(zip(*shares, strict=True)):
        bar, line = height * one / top, height - height * other / top
        ends = f"{number(edges[index])} to {number(edges[index + 1])}"
        label = f"{ends}: {100 * one:.1f} % of the {names[0]}, {100 * other:.1f} % of the {names[1]}"
        steps.append(
            Step(
                x=round(index * step + step * 0.08, 2),
                width=round(step * 0.84, 2),
                y=round(height - bar, 2),
                height=round(bar, 2),
                label=label,
            )
        )
        path += f"V{line:.2f}H{(index + 1) * step:.2f}"
    return Twin(
        found["name"],
        _TITLES.get(found["of"], ""),
        width,
        height,
        steps,
        path + f"V{height}",
        number(edges[0]),
        number(edges[-1]),
    )


def _names(first: dict[str, Any], second: dict[str, Any], key: str) -> list[str]:
    return list(dict.fromkeys([*first.get(key, {}), *second.get(key, {})]))


def _count(value: float | None) -> str:
    return f"{value:,.1f}".removesuffix(".0") if isinstance(value, float) else number(value)


def _share(value: float | None) -> str:
    return percent(value, 1) if value is not None else "–"
