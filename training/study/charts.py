"""The charts of a study as SVG text: every arm with its interval by one judge, and one judge against another. Colours
come from the page."""

from __future__ import annotations

from html import escape
from typing import Any

from training.drawing import picture, round_ticks, with_minus

_WIDTH, _RIGHT, _TOP, _ROW, _BOTTOM = 560, 18, 34, 22, 34
_SIDE, _HIGH = 560, 340


def forest(result: dict[str, Any], judge: dict[str, Any]) -> str:
    """A row per arm, the best first: its value, its 95 % interval, a tick for each seed, and the value of `random` as a
    dashed line. Controls are hollow, circular judgements faint."""
    rows = [(arm, arm["judged"][judge["name"]]) for arm in result["arms"]]
    rows = sorted((row for row in rows if row[1]["value"] is not None), key=lambda row: -row[1]["value"])
    if not rows:
        return ""
    left = 30 + 6.6 * max(len(arm["name"]) for arm, _ in rows)
    ends = [found[part] for _, found in rows for part in ("low", "high", "value")]
    ends += [value for _, found in rows for value in found["seeds"].values()]
    low, high = _padded([end for end in ends if end is not None])
    floor = _TOP + _ROW * len(rows) + 4

    def x(value: float) -> float:
        return left + (value - low) / (high - low) * (_WIDTH - _RIGHT - left)

    marks = []
    for tick in round_ticks(low, high):
        marks.append(f'<line class="grid" x1="{x(tick):.1f}" y1="{_TOP}" x2="{x(tick):.1f}" y2="{floor}"/>')
        marks.append(f'<text x="{x(tick):.1f}" y="{floor + 16}" text-anchor="middle">{_tick(tick, judge)}</text>')
    for arm, found in rows:
        if arm["role"] == "random":
            at = x(found["value"])
            marks.append(f'<line class="level" x1="{at:.1f}" y1="{_TOP}" x2="{at:.1f}" y2="{floor}"/>')
    for number, (arm, found) in enumerate(rows):
        y = _TOP + _ROW * (number + 0.5)
        kind = ("arm" if arm["role"] == "arm" else "control") + (" circular" if found["circular"] else "")
        star = " *" if found["circular"] else ""
        marks.append(f'<text class="{kind}" x="{left - 10:.1f}" y="{y + 4:.1f}" text-anchor="end">'
                     f'{escape(arm["name"] + star)}</text>')  # fmt: skip
        marks.append(f'<g class="{kind}">')
        ends = (x(found["low"]), x(found["high"])) if found["low"] is not None else (x(found["value"]),) * 2
        marks.append(f'<line class="whisker" x1="{ends[0]:.1f}" y1="{y:.1f}" x2="{ends[1]:.1f}" y2="{y:.1f}"/>')
        for value in found["seeds"].values() if len(set(found["seeds"].values())) > 1 else ():
            if value is not None:
                at = f"{x(value):.1f}"
                marks.append(f'<line class="seed" x1="{at}" y1="{y - 6:.1f}" x2="{at}" y2="{y + 6:.1f}"/>')
        marks.append(f'<circle class="dot" cx="{x(found["value"]):.1f}" cy="{y:.1f}" r="4.5"/></g>')
    said = "; ".join(f"{arm['name']} {found['value']:.3g}" for arm, found in rows)
    return picture(_title(judge), "".join(marks), said, width=_WIDTH, height=floor + _BOTTOM - 8, left=12)


def trade_off(result: dict[str, Any], across: dict[str, Any], up: dict[str, Any]) -> str:
    """Every arm as a point, by two judges; names are moved apart where they would cover each other."""
    points = [
        (arm, arm["judged"][across["name"]]["value"], arm["judged"][up["name"]]["value"]) for arm in result["arms"]
    ]
    points = [point for point in points if point[1] is not None and point[2] is not None]
    if not points:
        return ""
    (left, low), (right, high) = zip(_padded([p[1] for p in points]), _padded([p[2] for p in points]), strict=True)
    edge, floor = 52, _HIGH - 44

    def x(value: float) -> float:
        return edge + (value - left) / (right - left) * (_SIDE - 16 - edge)

    def y(value: float) -> float:
        return floor - (value - low) / (high - low) * (floor - 34)

    marks = []
    for tick in round_ticks(left, right):
        marks.append(f'<line class="grid" x1="{x(tick):.1f}" y1="34" x2="{x(tick):.1f}" y2="{floor}"/>')
        marks.append(f'<text x="{x(tick):.1f}" y="{floor + 16}" text-anchor="middle">{_tick(tick, across)}</text>')
    for tick in round_ticks(low, high):
        marks.append(f'<line class="grid" x1="{edge}" y1="{y(tick):.1f}" x2="{_SIDE - 16}" y2="{y(tick):.1f}"/>')
        marks.append(f'<text x="{edge - 6}" y="{y(tick) + 4:.1f}" text-anchor="end">{_tick(tick, up)}</text>')
    # Names make way for other names and for the dots, which take a line of their own.
    taken = [(y(second) + 4, x(first) - 6, x(first) + 6) for _, first, second in points]
    for arm, first, second in sorted(points, key=lambda point: -point[2]):
        at, height = x(first), y(second)
        kind = "arm" if arm["role"] == "arm" else "control"
        marks.append(f'<g class="{kind}"><circle class="dot" cx="{at:.1f}" cy="{height:.1f}" r="4.5"/></g>')
        width = 6.4 * len(arm["name"])
        start = at + 9 if at + 9 + width < _SIDE else at - 9 - width
        place = height + 4
        while any(abs(place - other) < 12 and start < end and begin < start + width for other, begin, end in taken):
            place += 12
        taken.append((place, start, start + width))
        marks.append(f'<text class="{kind}" x="{start:.1f}" y="{place:.1f}">{escape(arm["name"])}</text>')
    middle = (edge + _SIDE - 16) / 2
    marks.append(f'<text x="{middle:.1f}" y="{_HIGH - 8}" text-anchor="middle">{escape(_title(across))}</text>')
    said = "; ".join(f"{arm['name']} {first:.3g}, {second:.3g}" for arm, first, second in points)
    return picture(f"{_title(up)} over {across['name']}", "".join(marks), said, width=_SIDE, height=_HIGH, left=12)


def _title(judge: dict[str, Any]) -> str:
    return f"{judge['name']}{', %' if judge['form'] == 'share' else ''}"


def _tick(value: float, judge: dict[str, Any]) -> str:
    return with_minus(f"{100 * value if judge['form'] == 'share' else value:g}")


def _padded(values: list[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    pad = 0.04 * ((high - low) or abs(high) or 1.0)
    return low - pad, high + pad
