"""The two charts of a report as SVG text: the learning curve and the reliability curve. Colours come from the page."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from training.drawing import picture
from training.reward.protocols import Calibration

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 520, 260, 48, 14, 34, 40


def learning_curve(curve: Sequence[dict[str, float]], *, best_step: int) -> str:
    """Validation loss and mean training loss over steps, the kept weights marked."""
    lines = {
        "validation": [(row["step"], row["loss"]) for row in curve if "loss" in row],
        "training": [(row["step"], row["training_loss"]) for row in curve if "training_loss" in row],
    }
    values = [y for line in lines.values() for _, y in line]
    if not values:
        return ""
    # One wild step must not flatten the rest.
    low, high = min(values), min(max(values), 3 * sorted(values)[len(values) // 2])
    pad = 0.06 * ((high - low) or 1.0)
    plot = _Plot((0.0, max(row["step"] for row in curve) or 1.0), (low - pad, high + pad))
    marks = [plot.frame(y_ticks=_ticks(low, high), x_name="step", x_form="{:,.0f}")]
    for number, (name, line) in enumerate(lines.items()):
        if line:
            points = " ".join(f"{plot.x(x):.1f},{plot.y(y):.1f}" for x, y in line)
            marks.append(f'<polyline class="line{number}" points="{points}"/>')
            marks.append(_key(number, name))
    kept = dict(lines["validation"]).get(float(best_step))
    if kept is not None:
        marks.append(f'<circle class="mark" cx="{plot.x(best_step):.1f}" cy="{plot.y(kept):.1f}" r="4.5"/>')
    said = f"Cross-entropy of {len(lines['validation'])} looks at the validation split; kept are the weights of "
    return _svg("Learning curve: cross-entropy", "".join(marks), f"{said}step {best_step}")


def reliability(found: Calibration, before: Calibration | None) -> str:
    """Share of pairs that were right over the confidence in the preferred side; on the dashed line it is what it says.
    Dots grow with the pairs of a bin."""
    plot = _Plot((0.5, 1.0), (min(0.5, *found.right, *(before.right if before else ())) - 0.03, 1.02))
    marks = [plot.frame(y_ticks=(0.5, 0.75, 1.0), x_name="confidence in the preferred image", x_form="{:.2f}")]
    ends = (f"{plot.x(0.5):.1f}", f"{plot.y(0.5):.1f}", f"{plot.x(1.0):.1f}", f"{plot.y(1.0):.1f}")
    marks.append('<line class="level" x1="{}" y1="{}" x2="{}" y2="{}"/>'.format(*ends))
    shown = [("trained", found)] + ([("base, scaled", before)] if before is not None else [])
    for number, (name, each) in reversed(list(enumerate(shown))):
        most = max(each.pairs, default=1)
        points = list(zip(each.confidence, each.right, each.pairs, strict=True))
        line = " ".join(f"{plot.x(x):.1f},{plot.y(y):.1f}" for x, y, _ in points)
        marks.append(f'<polyline class="line{number}" points="{line}"/>')
        for x, y, pairs in points:
            size = 2 + 4 * (pairs / most) ** 0.5
            marks.append(f'<circle class="dot{number}" cx="{plot.x(x):.1f}" cy="{plot.y(y):.1f}" r="{size:.1f}"/>')
        marks.append(_key(number, name))
    bins = "; ".join(f"{c:.2f} said, {r:.2f} right" for c, r in zip(found.confidence, found.right, strict=True))
    return _svg("Reliability", "".join(marks), f"expected calibration error {found.ece:.3f}: {bins}")


class _Plot:
    """A rectangle with both scales."""

    def __init__(self, across: tuple[float, float], up: tuple[float, float]) -> None:
        self._across, self._up = across, up

    def x(self, value: float) -> float:
        low, high = self._across
        return _LEFT + (value - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        low, high = self._up
        share = min(1.0, max(0.0, (value - low) / (high - low)))
        return _HEIGHT - _BOTTOM - share * (_HEIGHT - _BOTTOM - _TOP)

    def frame(self, *, y_ticks: Sequence[float], x_name: str, x_form: str) -> str:
        floor = _HEIGHT - _BOTTOM
        out = [f'<line class="axis" x1="{_LEFT}" y1="{floor}" x2="{_WIDTH - _RIGHT}" y2="{floor}"/>']
        for tick in y_ticks:
            y = self.y(tick)
            out.append(f'<line class="grid" x1="{_LEFT}" y1="{y:.1f}" x2="{_WIDTH - _RIGHT}" y2="{y:.1f}"/>')
            out.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:.2f}</text>')
        low, high = self._across
        for share, anchor in ((0.0, "start"), (0.5, "middle"), (1.0, "end")):
            value = low + share * (high - low)
            out.append(
                f'<text x="{self.x(value):.1f}" y="{floor + 16}" text-anchor="{anchor}">{x_form.format(value)}</text>'
            )
        middle = (_LEFT + _WIDTH - _RIGHT) / 2
        out.append(f'<text x="{middle:.1f}" y="{_HEIGHT - 6}" text-anchor="middle">{escape(x_name)}</text>')
        return "".join(out)


def _ticks(low: float, high: float) -> tuple[float, ...]:
    return (low, (low + high) / 2, high) if high > low else (low,)


def _key(number: int, name: str) -> str:
    x = _WIDTH - _RIGHT - 104 * (2 - number) + 20
    return (
        f'<line class="line{number}" x1="{x}" y1="13" x2="{x + 16}" y2="13"/>'
        f'<text x="{x + 21}" y="17">{escape(name)}</text>'
    )


def _svg(title: str, body: str, described: str) -> str:
    return picture(title, body, described, width=_WIDTH, height=_HEIGHT, left=_LEFT)
