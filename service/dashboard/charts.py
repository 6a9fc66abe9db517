"""The geometry of charts that templates draw as SVG: histograms and the wings of a score. Draws nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from service.histograms import Histogram


@dataclass(frozen=True)
class Bar:
    """One bar of a histogram in SVG units, y downwards. `height_all` is of all rows, `height` of the
    selected."""

    x: float
    width: float
    y_all: float
    height_all: float
    y: float
    height: float
    label: str
    href: str


@dataclass(frozen=True)
class Tick:
    """A labelled place on an axis, in SVG units. `anchor` is SVG's text-anchor: it keeps labels inside the
    box."""

    at: float
    label: str
    anchor: str = "middle"


@dataclass(frozen=True)
class Bars:
    """A histogram, ready to draw in a box of `width` × `height`."""

    width: int
    height: int
    bars: list[Bar]
    ticks: list[Tick]
    zero: float | None


@dataclass(frozen=True)
class Wings:
    """Two scores on one scale, drawn from the middle outwards like the images they belong to; lengths in [0,
    1]."""

    left: float
    right: float


def bars(
    histogram: Histogram,
    *,
    width: int,
    height: int,
    href: Callable[[float | None, float | None], str],
    text: Callable[[float | None], str],
) -> Bars:
    """Place a histogram's bins. `href` makes the link of a bin from its ends (None = open), `text` writes a
    value."""
    bins = histogram.bins
    top = max((each.total for each in bins), default=0) or 1
    step = width / max(len(bins), 1)
    placed = []
    for index, each in enumerate(bins):
        # A bin that holds anything shows: at least two units high.
        full, part = (max(2.0, height * count / top) if count else 0.0 for count in (each.total, each.selected))
        ends = f"{text(each.low)} to {text(each.high)}"
        if each.low is None:
            ends = f"below {text(each.high)}"
        elif each.high is None:
            ends = f"{text(each.low)} and above"
        elif histogram.counts:
            ends = text(each.low)
        placed.append(
            Bar(
                x=round(index * step + step * 0.06, 2),
                width=round(step * 0.88, 2),
                y_all=round(height - full, 2),
                height_all=round(full, 2),
                y=round(height - part, 2),
                height=round(part, 2),
                label=f"{ends}: {each.selected:,} of {each.total:,} pairs",
                href=href(each.low, each.high),
            )
        )
    edges = [each.low for each in bins[1:]]
    if histogram.counts and len(bins) <= 16:  # a number stands under its own bar, not between two
        middles = [(index + 0.5) * step for index in range(len(bins))]
        ticks = [Tick(round(at, 2), text(each.low)) for at, each in zip(middles, bins, strict=True)]
    else:
        ticks = _ticks(edges, step)
    zero = next((round((index + 1) * step, 2) for index, edge in enumerate(edges) if edge == 0), None)
    return Bars(width, height, placed, ticks, zero)


def wings(left: float | None, right: float | None, scale: tuple[float, float] | None) -> Wings | None:
    """Both scores as lengths on a scorer's usual range `scale`; None without a range or without both
    scores."""
    if left is None or right is None or scale is None:
        return None
    low, high = scale
    span = high - low

    def length(value: float) -> float:
        # The shortest wing is still a wing: a missing one would read as a missing score.
        return round(min(max((value - low) / span if span > 0 else 0.5, 0.02), 1.0), 4)

    return Wings(length(left), length(right))


def _ticks(edges: Sequence[float | None], step: float) -> list[Tick]:
    """At most eight edges that are multiples of one another's distance, zero among them if it is an edge."""
    known = [edge for edge in edges if edge is not None]
    if len(known) < 2:
        return [Tick(step * (index + 1), plain_label(edge)) for index, edge in enumerate(known)]
    width = known[1] - known[0]
    every = next(n for n in (1, 2, 5, 10, 20, 50) if len(known) / n <= 8)
    return [
        Tick(round((index + 1) * step, 2), plain_label(edge))
        for index, edge in enumerate(known)
        if round(edge / width) % every == 0
    ]


def plain_label(value: float) -> str:
    """An axis label: every digit that counts and no more."""
    return repr(round(value, 10)).removesuffix(".0").replace("-", "−")
