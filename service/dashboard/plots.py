"""Curves and heat-maps of runs as SVG: drawn here in full, coloured by the page. What they show is said in words for
whoever cannot see them, and point by point under the pointer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup, escape

from service.dashboard.text import number
from training.drawing import round_ticks
from training.watch.series import Series, TimeGrid

WIDTH: Final = 360
_HEIGHT: Final = 190
_LEFT: Final = 46
_RIGHT: Final = 8
_TOP: Final = 8
_FOOT: Final = 22
_HITS: Final = 48
KINDS: Final = ("first", "second", "third", "fourth")

_STEP: Final = f'<text x="{_LEFT - 12}" y="{_HEIGHT - 6}" text-anchor="end">step</text>'

_Scale = Callable[[float], float]


@dataclass(frozen=True)
class Line:
    """A series with the name that its legend has. `kind` is how it is drawn (one of KINDS), by its place if empty."""

    label: str
    series: Series
    kind: str = ""


@dataclass(frozen=True)
class Level:
    """A value that a chart marks, drawn only where it lies within the chart."""

    value: float
    label: str


def lines(
    title: str,
    drawn: Sequence[Line],
    *,
    level: Level | None = None,
    bounds: tuple[float, float] | None = None,
    smooth: bool = True,
) -> Markup:
    """At most four series over the steps: what was measured faint, with the range of its values where there are more
    steps than points, and the moving mean over it. `bounds` are a range that is shown at least. Empty without a
    point."""
    drawn = [line for line in drawn if line.series.step]
    if not drawn:
        return Markup("")
    steps = [step for line in drawn for step in line.series.step]
    low, high = _range(drawn, bounds)
    begin, end = min(steps), max(steps)

    def x(step: float) -> float:
        return _LEFT + ((step - begin) / (end - begin) if end > begin else 0.5) * (WIDTH - _LEFT - _RIGHT)

    def y(value: float) -> float:
        value = min(max(value, low), high)
        return _TOP + (high - value) / (high - low) * (_HEIGHT - _TOP - _FOOT)

    parts = [_axes(begin, end, low, high, x=x, y=y)]
    if level is not None and low <= level.value <= high:
        at = f"{y(level.value):.1f}"
        parts.append(f'<line class="level" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{at}" y2="{at}"/>')
    for kind, line in zip(KINDS, drawn, strict=False):
        parts.append(_line(line.kind or kind, line.series, smooth=smooth, x=x, y=y))
    if level is not None and low <= level.value <= high:  # over the lines, so that it can be read
        above = f"{y(level.value) - 3:.1f}"
        label = escape(level.label)
        parts.append(f'<text class="level" x="{WIDTH - _RIGHT}" y="{above}" text-anchor="end">{label}</text>')
    parts.append(_hits(drawn, x=x))
    ends = [(line.label, _known(line.series.smooth)) for line in drawn]
    said = "; ".join(f"{label} {number(known[0])} at first, {number(known[-1])} lately" for label, known in ends)
    return _svg(f"{title}, steps {begin:,.0f} to {end:,.0f}. {said}", "".join(parts))


def heat(title: str, grid: TimeGrid, *, centre: float, reach: float | None = None, good_above: bool) -> Markup:
    """Steps from left to right, diffusion time from the least noise at the bottom to the most at the top. A cell is the
    stronger the farther its value is from `centre` (`reach` away it is full; the farthest value if None), in the good
    colour on the good side."""
    known = [value for row in grid.rows for value in row if value is not None]
    if not known:
        return Markup("")
    tall, wide = max(len(row) for row in grid.rows), len(grid.rows)
    far = reach or farthest(grid, centre)
    cell_width, cell_height = (WIDTH - _LEFT - _RIGHT) / wide, (_HEIGHT - _TOP - _FOOT) / tall
    parts = []
    for place, row in enumerate(grid.rows):
        for bucket, value in enumerate(row):
            if value is None:
                continue
            kind = "good" if (value > centre) == good_above else "worse"
            strength = min(1.0, abs(value - centre) / far)
            left, top = _LEFT + place * cell_width, _HEIGHT - _FOOT - (bucket + 1) * cell_height
            told = (
                f"step {grid.step[place]:,.0f}, time {bucket / tall:.0%} to {(bucket + 1) / tall:.0%}: {number(value)}"
            )
            parts.append(
                f'<rect class="cell {kind}" x="{left:.1f}" y="{top:.1f}" width="{cell_width + 0.3:.1f}" '
                f'height="{cell_height + 0.3:.1f}" fill-opacity="{strength:.2f}"><title>{escape(told)}</title></rect>'
            )
    floor = _HEIGHT - _FOOT
    parts.append(f'<text x="{_LEFT - 6}" y="{_TOP + 10}" text-anchor="end">noise</text>')
    parts.append(f'<text x="{_LEFT - 6}" y="{floor}" text-anchor="end">image</text>')
    parts.append(_STEP)
    parts.append(f'<text x="{_LEFT}" y="{_HEIGHT - 6}">{grid.step[0]:,.0f}</text>')
    parts.append(f'<text x="{WIDTH - _RIGHT}" y="{_HEIGHT - 6}" text-anchor="end">{grid.step[-1]:,.0f}</text>')
    last = [value for value in grid.rows[-1] if value is not None]
    said = f"lately from {number(min(last))} to {number(max(last))} between ranges of time" if last else ""
    return _svg(f"{title} by diffusion time over the steps; {said}", "".join(parts))


def farthest(grid: TimeGrid, centre: float) -> float:
    """How far the farthest value of a grid is from `centre`; 1 where none is."""
    return max((abs(value - centre) for row in grid.rows for value in row if value is not None), default=0.0) or 1.0


def _range(drawn: Sequence[Line], bounds: tuple[float, float] | None) -> tuple[float, float]:
    """What the chart spans: all of the smooth curve, and of the raw values all but the farthest twentieth on either
    side, since spikes would flatten the rest."""
    smooth = [value for line in drawn for value in _known(line.series.smooth)]
    raw = sorted(value for line in drawn for value in (*_known(line.series.low), *_known(line.series.high)))
    cut = len(raw) // 20
    low, high = min(*smooth, raw[cut]), max(*smooth, raw[len(raw) - 1 - cut])
    if bounds is not None:
        low, high = min(low, bounds[0]), max(high, bounds[1])
    pad = 0.04 * (high - low) or abs(high) * 0.1 or 1.0
    if bounds is not None and (low, high) == bounds:
        pad = 0.0
    return low - pad, high + pad


def _axes(begin: float, end: float, low: float, high: float, *, x: _Scale, y: _Scale) -> str:
    floor = _HEIGHT - _FOOT
    parts = []
    for tick in round_ticks(low, high, most=4):
        at = y(tick)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{at + 3.5:.1f}" text-anchor="end">{_tick(tick)}</text>')
    for tick in round_ticks(begin, end, most=5):
        anchor = "start" if x(tick) < _LEFT + 8 else "end" if x(tick) > WIDTH - _RIGHT - 12 else "middle"
        parts.append(f'<text x="{x(tick):.1f}" y="{_HEIGHT - 6}" text-anchor="{anchor}">{tick:,.0f}</text>')
    parts.append(f'<line class="axis" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{floor}" y2="{floor}"/>')
    parts.append(_STEP)
    return "".join(parts)


def _line(kind: str, series: Series, *, smooth: bool, x: _Scale, y: _Scale) -> str:
    points = [
        (step, mean, low, high, even)
        for step, mean, low, high, even in zip(
            series.step, series.mean, series.low, series.high, series.smooth, strict=True
        )
        if mean is not None and low is not None and high is not None and even is not None
    ]
    parts = []
    if smooth and any(low < high for _, _, low, high, _ in points):
        over = [f"{x(step):.1f},{y(high):.1f}" for step, _, _, high, _ in points]
        under = [f"{x(step):.1f},{y(low):.1f}" for step, _, low, _, _ in reversed(points)]
        parts.append(f'<polygon class="band {kind}" points="{" ".join((*over, *under))}"/>')
    raw = " ".join(f"{x(step):.1f},{y(mean):.1f}" for step, mean, *_ in points)
    even = " ".join(f"{x(step):.1f},{y(value):.1f}" for step, *_, value in points)
    if smooth and len(points) > 1:
        parts.append(f'<polyline class="raw {kind}" points="{raw}"/>')
    if len(points) == 1:
        parts.append(f'<circle class="point {kind}" cx="{x(points[0][0]):.1f}" cy="{y(points[0][1]):.1f}" r="3"/>')
    else:
        parts.append(f'<polyline class="even {kind}" points="{even if smooth else raw}"/>')
    return "".join(parts)


def _hits(drawn: Sequence[Line], *, x: _Scale) -> str:
    """Invisible columns that tell the values at their steps."""
    first = drawn[0].series
    count = min(_HITS, len(first.step))
    places = [(index * (len(first.step) - 1)) // max(1, count - 1) for index in range(count)]
    width = (WIDTH - _LEFT - _RIGHT) / max(1, count)
    parts = []
    for place in places:
        told = [f"step {first.step[place]:,.0f}"]
        for line in drawn:
            at = _nearest(line.series, first.step[place])
            told.append(f"{line.label} {number(line.series.mean[at])}, smoothed {number(line.series.smooth[at])}")
        parts.append(
            f'<rect class="hit" x="{x(first.step[place]) - width / 2:.1f}" y="{_TOP}" width="{width:.1f}" '
            f'height="{_HEIGHT - _TOP - _FOOT}"><title>{escape(chr(10).join(told))}</title></rect>'
        )
    return "".join(parts)


def _nearest(series: Series, step: float) -> int:
    return min(range(len(series.step)), key=lambda place: abs(series.step[place] - step))


def _known(values: Sequence[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _tick(value: float) -> str:
    if value and not 1e-3 <= abs(value) < 1e5:
        mantissa, _, exponent = f"{value:.1e}".partition("e")
        return f"{mantissa.removesuffix('.0')}e{int(exponent)}".replace("-", "−")
    return f"{value:g}".replace("-", "−")


def _svg(said: str, body: str) -> Markup:
    return Markup(
        f'<svg class="plot" viewBox="0 0 {WIDTH} {_HEIGHT}" role="img" aria-label="{escape(said)}">{body}</svg>'
    )
