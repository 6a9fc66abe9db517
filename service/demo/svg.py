"""Two small charts as SVG text: overlaid histograms and lines. Colours come from the page's stylesheet."""

from __future__ import annotations

from html import escape

import numpy as np
from numpy.typing import NDArray

from training.drawing import picture

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 340, 190, 34, 34, 30


def histogram(
    everything: NDArray[np.floating], chosen: NDArray[np.floating], *, title: str, unit: str, bins: int = 32
) -> str:
    """Shares per bin of all values and of the chosen ones, between the 0.5th and 99.5th percentile."""
    if not len(everything):
        return _frame(title, "", "no values")
    low, high = np.quantile(everything, [0.005, 0.995])
    if high <= low:
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, bins + 1)
    shares = [
        np.histogram(np.clip(values, low, high), edges)[0] / max(1, len(values)) for values in (everything, chosen)
    ]
    peak = float(max(share.max() for share in shares)) or 1.0
    plot = _HEIGHT - _BOTTOM - _TOP
    wide = (_WIDTH - _LEFT - 8) / bins
    marks = []
    for name, share, inset in (("all", shares[0], 0.4), ("chosen", shares[1], 0.4)):
        for index, value in enumerate(share):
            if value:
                tall = plot * value / peak
                marks.append(
                    f'<rect class="{name}" x="{_LEFT + index * wide + inset:.1f}" y="{_TOP + plot - tall:.1f}" '
                    f'width="{wide - 2 * inset:.1f}" height="{tall:.1f}"/>'
                )
    if low < 0 < high:
        zero = _LEFT + (0 - low) / (high - low) * (_WIDTH - _LEFT - 8)
        marks.append(f'<line class="level" x1="{zero:.1f}" y1="{_TOP}" x2="{zero:.1f}" y2="{_TOP + plot}"/>')
    axis = _axis([(0.0, f"{low:.2g}"), (1.0, f"{high:.2g}")]) + _label(unit)
    described = f"{title}: {len(everything)} pairs, median {np.median(everything):.3g}; "
    described += f"{len(chosen)} chosen, median {np.median(chosen):.3g}" if len(chosen) else "none chosen"
    return _frame(title, "".join(marks) + axis, described)


def curves(
    lines: list[tuple[str, list[float]]], *, title: str, level: float | None = None, level_name: str = ""
) -> str:
    """Lines over equal steps, each named at its end; `level` draws a dashed reference."""
    values = [value for _, line in lines for value in line] + ([level] if level is not None else [])
    low, high = min(values), max(values)
    high = high if high > low else low + 1.0
    width, plot = 700, _HEIGHT - _BOTTOM - _TOP
    right = 150

    def place(step: int, count: int, value: float) -> str:
        x = _LEFT + step / max(1, count - 1) * (width - _LEFT - right)
        return f"{x:.1f},{_TOP + plot * (high - value) / (high - low):.1f}"

    marks = []
    if level is not None:
        y = _TOP + plot * (high - level) / (high - low)
        marks.append(f'<line class="level" x1="{_LEFT}" y1="{y:.1f}" x2="{width - right}" y2="{y:.1f}"/>')
        marks.append(f'<text x="{width - right + 6}" y="{y + 4:.1f}">{escape(level_name)}</text>')
    taken: list[float] = []
    for number, (name, line) in enumerate(lines):
        points = " ".join(place(step, len(line), value) for step, value in enumerate(line))
        marks.append(f'<polyline class="line{number}" points="{points}"/>')
        y = float(place(len(line) - 1, len(line), line[-1]).split(",")[1]) + 4
        while any(abs(y - other) < 14 for other in taken):
            y += 14
        taken.append(y)
        marks.append(f'<text class="name{number}" x="{width - right + 6}" y="{y:.1f}">{escape(name)}</text>')
    for value in (low, high):
        y = _TOP + plot * (high - value) / (high - low)
        marks.append(f'<text x="{_LEFT - 5}" y="{y + 4:.1f}" text-anchor="end">{value:.2f}</text>')
    described = "; ".join(f"{name} ends at {line[-1]:.3f}" for name, line in lines)
    return _frame(title, "".join(marks), described, width=width)


def _frame(title: str, body: str, described: str, *, width: int = _WIDTH) -> str:
    return picture(title, body, described, width=width, height=_HEIGHT, left=_LEFT)


def _axis(ticks: list[tuple[float, str]]) -> str:
    y = _HEIGHT - _BOTTOM
    out = [f'<line class="axis" x1="{_LEFT}" y1="{y}" x2="{_WIDTH - 8}" y2="{y}"/>']
    for share, text in ticks:
        x = _LEFT + share * (_WIDTH - _LEFT - 8)
        anchor = "start" if share < 0.5 else "end"
        out.append(f'<text x="{x:.1f}" y="{y + 15}" text-anchor="{anchor}">{escape(text)}</text>')
    return "".join(out)


def _label(text: str) -> str:
    return f'<text x="{(_LEFT + _WIDTH - 8) / 2:.1f}" y="{_HEIGHT - 6}" text-anchor="middle">{escape(text)}</text>'
