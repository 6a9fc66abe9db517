"""The reliability of label confidence as a picture: an SVG file that carries its own colours."""

from __future__ import annotations

from html import escape

from ranking.confidence.calibration import Reliability

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 560, 440, 58, 20, 108, 52
_STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#1c2733}.title{font-weight:600;font-size:16px}.soft{fill:#5b6b7b}"
    ".grid{stroke:#dde3ea}.axis{stroke:#5b6b7b}.level{stroke:#8a97a5;stroke-dasharray:5 5}"
    ".line{fill:none;stroke:#1f6feb;stroke-width:2}.dot{fill:#1f6feb}.other{fill:none;stroke:#b4530a;stroke-width:2}"
    ".ring{fill:#b4530a}.paper{fill:#fff}"
)


def reliability_chart(dataset: str, predicted: Reliability, voted: Reliability | None = None) -> str:
    """A whole SVG document: how often the preferred image was the one that people named, over how sure that was.
    On the dashed line a probability is what it says. Dots grow with the pairs of a bin."""
    floor = min([0.5, *(b.came for each in (predicted, voted) if each for b in each.bins)])
    low = 0.5 if floor >= 0.5 else max(0.0, floor - 0.03)
    marks = [_frame(low)]
    ends = [f"{value:.1f}" for value in (_x(0.5), _y(0.5, low), _x(1.0), _y(1.0, low))]
    marks.append('<line class="level" x1="{}" y1="{}" x2="{}" y2="{}"/>'.format(*ends))
    marks.append(_curve(predicted, low, "line", "dot"))
    keys = [("dot", f"labels of people, {predicted.pairs:,} pairs; expected calibration error {predicted.ece:.3f}")]
    if voted:
        marks.append(_curve(voted, low, "other", "ring"))
        keys.append(("ring", f"shares of votes, {voted.pairs:,} pairs; expected calibration error {voted.ece:.3f}"))
    for number, (kind, text) in enumerate(keys):
        y = 68 + 20 * number
        marks.append(f'<circle class="{kind}" cx="{_LEFT + 5}" cy="{y - 4}" r="5"/>')
        marks.append(f'<text x="{_LEFT + 17}" y="{y}">{escape(text)}</text>')
    said = "; ".join(f"{b.said:.2f} said, {b.came:.2f} came true in {b.pairs} pairs" for b in predicted.bins)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}" '
        f'role="img" aria-label="{escape(f"Reliability of predicted labels of {dataset}: {said}")}">'
        f'<style>{_STYLE}</style><rect class="paper" width="{_WIDTH}" height="{_HEIGHT}"/>'
        f'<text class="title" x="{_LEFT}" y="26">Labels predicted by what has not seen them: {escape(dataset)}</text>'
        f'<text class="soft" x="{_LEFT}" y="46">share of pairs in which people named the preferred image</text>'
        f"{''.join(marks)}</svg>\n"
    )


def _x(value: float) -> float:
    return _LEFT + (value - 0.5) / 0.5 * (_WIDTH - _LEFT - _RIGHT)


def _y(value: float, low: float) -> float:
    return _HEIGHT - _BOTTOM - (value - low) / (1 - low) * (_HEIGHT - _BOTTOM - _TOP)


def _frame(low: float) -> str:
    bottom = _HEIGHT - _BOTTOM
    out = []
    for tick in sorted({low, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0}):
        y = _y(tick, low)
        out.append(f'<line class="grid" x1="{_LEFT}" y1="{y:.1f}" x2="{_WIDTH - _RIGHT}" y2="{y:.1f}"/>')
        out.append(f'<text class="soft" x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{tick:.2f}</text>')
    for tick in (0.5, 0.6, 0.7, 0.8, 0.9, 1.0):
        out.append(f'<text class="soft" x="{_x(tick):.1f}" y="{bottom + 18}" text-anchor="middle">{tick:.1f}</text>')
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    name = "predicted probability that this rater prefers it"
    out.append(f'<text class="soft" x="{middle:.1f}" y="{_HEIGHT - 12}" text-anchor="middle">{name}</text>')
    out.append(f'<line class="axis" x1="{_LEFT}" y1="{bottom}" x2="{_WIDTH - _RIGHT}" y2="{bottom}"/>')
    return "".join(out)


def _curve(found: Reliability, low: float, line: str, dot: str) -> str:
    most = max((each.pairs for each in found.bins), default=1)
    places = [(_x(each.said), _y(each.came, low), each.pairs) for each in found.bins]
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in places)
    dots = [
        f'<circle class="{dot}" cx="{x:.1f}" cy="{y:.1f}" r="{2.5 + 4.5 * (n / most) ** 0.5:.1f}"/>'
        for x, y, n in places
    ]
    return f'<polyline class="{line}" points="{points}"/>{"".join(dots)}'
