"""The charts of a grid as SVG text: by one judge, a panel for every combination of all axes but the last, along which
the arms are drawn. Colours come from the page."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from training.drawing import picture, round_ticks, with_minus
from training.study.grid import Grid, label

_WIDTH, _HIGH = 360, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 14, 34, 62


def panels(grid: Grid, rows: Sequence[dict[str, Any]], judge: dict[str, Any]) -> list[str]:
    """The panels as SVG, all on one scale. The control `all`, which no budget moves, is a dashed line."""
    axes = list(grid.axes)
    along = axes[-1]
    mine = [row for row in rows if row["judge"] == judge["name"] and row["value"] is not None]
    if not mine:
        return []
    ends = [row[part] for row in mine for part in ("low", "high", "value") if row[part] is not None]
    low, high = min(ends), max(ends)
    room = (high - low) * 0.06 or 0.05
    places: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in mine:
        places.setdefault(tuple(row["at"][axis] for axis in axes[:-1]), []).append(row)
    order = [label(value) for value in grid.axes[along]]
    drawn = []
    for place, found in places.items():
        title = " · ".join(f"{axis.rpartition('.')[2]} {value}" for axis, value in zip(axes, place, strict=False))
        drawn.append(_panel(title or judge["name"], judge, found, order, along, low=low - room, high=high + room))
    return drawn


def arms_of(rows: Sequence[dict[str, Any]]) -> list[tuple[str, str]]:
    """(arm, its CSS class) in their order, as the legend of a page shows them."""
    names = list(dict.fromkeys(row["arm"] for row in rows))
    return [(name, f"series-{number % 8}") for number, name in enumerate(names)]


def _panel(
    title: str,
    judge: dict[str, Any],
    rows: list[dict[str, Any]],
    order: list[str],
    along: str,
    *,
    low: float,
    high: float,
) -> str:
    inner = _WIDTH - _LEFT - _RIGHT
    floor = _HIGH - _BOTTOM

    def y(value: float) -> float:
        return floor - (value - low) / (high - low) * (floor - _TOP)

    def x(place: str, shift: float) -> float:
        return _LEFT + inner * (order.index(place) + 0.5) / len(order) + shift

    marks = []
    for tick in round_ticks(low, high):
        shown = with_minus(f"{100 * tick:g} %" if judge["form"] == "share" else f"{tick:g}")
        marks.append(
            f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>'
            f'<text x="{_LEFT - 6}" y="{y(tick) + 4:.1f}" text-anchor="end">{shown}</text>'
        )
    for place in order:
        marks.append(f'<text x="{x(place, 0):.1f}" y="{floor + 16}" text-anchor="middle">{escape(place)}</text>')
    marks.append(f'<text x="{_LEFT + inner / 2:.1f}" y="{floor + 34}" text-anchor="middle">{escape(along)}</text>')
    series = arms_of(rows)
    said = []
    for number, (arm, kind) in enumerate(series):
        shift = (number - (len(series) - 1) / 2) * 6
        found = sorted((row for row in rows if row["arm"] == arm), key=lambda row: order.index(row["at"][along]))
        points = [(x(row["at"][along], shift), row) for row in found]
        line = " ".join(f"{at:.1f},{y(row['value']):.1f}" for at, row in points)
        said.append(f"{arm} " + ", ".join(f"{row['at'][along]}: {row['value']:.3g}" for _, row in points))
        if found and found[0]["role"] == "all":
            at = y(found[0]["value"])
            marks.append(
                f'<line class="{kind} level" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>'
            )
            continue
        marks.append(f'<g class="{kind}"><polyline class="line" points="{line}"/>')
        for at, row in points:
            if row["low"] is not None:
                marks.append(
                    f'<line class="whisker" x1="{at:.1f}" x2="{at:.1f}" y1="{y(row["low"]):.1f}" '
                    f'y2="{y(row["high"]):.1f}"/>'
                )
            marks.append(f'<circle class="dot" cx="{at:.1f}" cy="{y(row["value"]):.1f}" r="3.5"/>')
        marks.append("</g>")
    return picture(title, "".join(marks), "; ".join(said), width=_WIDTH, height=_HIGH - 20, left=_LEFT)


def sheet(grid: Grid, rows: Sequence[dict[str, Any]], judge: dict[str, Any], *, across: int = 3) -> str:
    """All panels of a judge on one SVG with its own colours and a legend, for pages that have none."""
    drawn = panels(grid, rows, judge)
    series = arms_of(rows)
    high = _HIGH - 20
    placed = [
        f'<svg x="{number % across * _WIDTH}" y="{24 + number // across * high}" width="{_WIDTH}" height="{high}"'
        + panel.removeprefix("<svg")
        for number, panel in enumerate(drawn)
    ]
    legend, at = [], _LEFT
    for arm, kind in series:
        legend.append(
            f'<circle class="{kind} dot" cx="{at}" cy="12" r="4.5"/><text x="{at + 10}" y="16">{escape(arm)}</text>'
        )
        at += 34 + 7 * len(arm)
    width, height = across * _WIDTH, 24 + -(-len(drawn) // across) * high
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" role="img" '
        f'aria-label="{escape(judge["name"])}"><style>{_STYLE}</style>{"".join(legend)}{"".join(placed)}</svg>'
    )


_COLOURS = ("#2a6fdb", "#1f8a55", "#9a7016", "#c0453c", "#7a3fb5", "#0e7c86", "#6b7280", "#c2185b")
_STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#57606a}.title{font-weight:600;fill:#24292f}.grid{stroke:#8883}"
    ".line,.whisker,.level{fill:none;stroke:currentColor;stroke-width:1.5}.level{stroke-dasharray:5 4}"
    ".dot{fill:currentColor}"
    + "".join(f".series-{number}{{color:{colour}}}" for number, colour in enumerate(_COLOURS))
    + "@media(prefers-color-scheme:dark){text{fill:#9aa5b4}.title{fill:#e6e8eb}}"
)
