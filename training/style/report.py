"""Writes what came out of a style study: charts, a table for a spreadsheet, and all of it as JSON."""

from __future__ import annotations

import csv
import io
import json
from html import escape
from pathlib import Path
from typing import Any

from training.drawing import picture, round_ticks, with_minus

RESULT, TABLE = "result.json", "table.csv"
TITLES = {
    "fid": "FID on the features (less is nearer)",
    "kid": "KID × 1000 (less is nearer)",
    "cmmd": "CMMD (less is nearer)",
    "gram": "Gram distance × 1000 (less is nearer)",
    "text": "cosine with the style's text (more is nearer)",
    "prompt": "cosine with the prompt (more shows it better)",
}
_SCALE = {"kid": 1000.0, "gram": 1000.0}
_FIXED = {
    "references": "references",
    "originals": "unstyled originals",
    "vae": "references through the VAE",
    "base": "base",
}
_WIDTH, _RIGHT, _TOP, _ROW, _BOTTOM = 560, 18, 34, 22, 30


def write_report(folder: Path, result: dict[str, Any]) -> None:
    """Write result.json, table.csv and a chart for each measure into `folder`, over older ones."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RESULT).write_text(json.dumps(result, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    (folder / TABLE).write_text(to_csv(result), encoding="utf-8")
    for measure in result["fixed"]["base"]:
        (folder / f"{measure}.svg").write_text(standalone(forest(result, measure)), encoding="utf-8")


def table_rows(result: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Column titles and rows as text: each measure's mean over seeds with its interval, and its change from base."""
    measures = list(result["fixed"]["base"])
    rows = [
        [_FIXED[name], *(_told(found[measure], measure) for measure in measures)]
        for name, found in result["fixed"].items()
    ]
    for arm in result["arms"]:
        rows.append([arm["name"], *(_told(arm["measures"][measure], measure) for measure in measures)])
    return ["", *(_short(measure) for measure in measures)], rows


def to_csv(result: dict[str, Any]) -> str:
    """One line per row and measure, numbers as they are in the JSON."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    ends = ("value", "low", "high", "change", "change_low", "change_high")
    writer.writerow(["row", "method", "labels", "measure", *ends, "seeds_low", "seeds_high"])
    for name, found in result["fixed"].items():
        for measure, each in found.items():
            writer.writerow([name, "", "", measure, *(each.get(end, "") for end in ends), "", ""])
    for arm in result["arms"]:
        for measure, each in arm["measures"].items():
            seeds = each["seeds"].values()
            method = f"{arm['method']} after {arm['after']}" if arm["after"] else arm["method"]
            writer.writerow(
                [arm["name"], method, arm["labels"], measure, *(each[end] for end in ends), min(seeds), max(seeds)]
            )
    return out.getvalue()


def forest(result: dict[str, Any], measure: str) -> str:
    """A row per arm in the order of the study: the mean over seeds, its interval over prompts, a tick for each seed;
    the base, the unstyled originals and what the VAE allows as dashed lines. Controls are hollow."""
    scale = _SCALE.get(measure, 1.0)
    rows = [(arm, {k: scale * v for k, v in _numbers(arm["measures"][measure]).items()}) for arm in result["arms"]]
    seeds = {arm["name"]: [scale * v for v in arm["measures"][measure]["seeds"].values()] for arm, _ in rows}
    levels = {name: scale * found[measure]["value"] for name, found in result["fixed"].items()}
    if measure != "prompt":
        del levels["references"]  # nothing is nearer to them than they
    left = 30 + 6.6 * max(len(arm["name"]) for arm, _ in rows)
    ends = [found[end] for _, found in rows for end in ("low", "high")] + list(levels.values())
    ends += [value for found in seeds.values() for value in found]
    low, high = min(ends), max(ends)
    pad = 0.04 * ((high - low) or 1.0)
    low, high = low - pad, high + pad
    top = _TOP + 14 * len(levels)
    floor = top + _ROW * len(rows) + 4

    def x(value: float) -> float:
        return left + (value - low) / (high - low) * (_WIDTH - _RIGHT - left)

    marks = []
    for tick in round_ticks(low, high):
        marks.append(f'<line class="grid" x1="{x(tick):.1f}" y1="{top}" x2="{x(tick):.1f}" y2="{floor}"/>')
        marks.append(f'<text x="{x(tick):.1f}" y="{floor + 16}" text-anchor="middle">{with_minus(f"{tick:g}")}</text>')
    for line, (name, value) in enumerate(sorted(levels.items(), key=lambda level: level[1])):
        height, at = _TOP + 14 * line + 8, x(value)
        anchor, side = ("end", -4) if at > (left + _WIDTH) / 2 else ("start", 4)
        marks.append(f'<line class="level" x1="{at:.1f}" y1="{height - 8}" x2="{at:.1f}" y2="{floor}"/>')
        marks.append(f'<text x="{at + side:.1f}" y="{height}" text-anchor="{anchor}">{_FIXED[name]}</text>')
    for number, (arm, found) in enumerate(rows):
        y = top + _ROW * (number + 0.5)
        kind = "control" if arm["labels"] == "random" else "arm"
        marks.append(f'<text class="{kind}" x="{left - 10:.1f}" y="{y + 4:.1f}" text-anchor="end">'
                     f'{escape(arm["name"])}</text>')  # fmt: skip
        marks.append(f'<g class="{kind}"><line class="whisker" x1="{x(found["low"]):.1f}" y1="{y:.1f}" '
                     f'x2="{x(found["high"]):.1f}" y2="{y:.1f}"/>')  # fmt: skip
        for value in seeds[arm["name"]]:
            at = x(value)
            marks.append(f'<line class="seed" x1="{at:.1f}" y1="{y - 6:.1f}" x2="{at:.1f}" y2="{y + 6:.1f}"/>')
        marks.append(f'<circle class="dot" cx="{x(found["value"]):.1f}" cy="{y:.1f}" r="4.5"/></g>')
    said = "; ".join(f"{arm['name']} {found['value']:.3g}" for arm, found in rows)
    return picture(TITLES[measure], "".join(marks), said, width=_WIDTH, height=floor + _BOTTOM - 8, left=12)


def standalone(svg: str) -> str:
    """A chart of ours as a file that shows by itself, on light and dark pages."""
    style = (
        "<style>text{font:12px system-ui,sans-serif;fill:#3a3a3c}.title{font-weight:600}.grid{stroke:#8883}"
        ".level{stroke:#8a8a8e;stroke-dasharray:4 3}.whisker,.seed{stroke-width:2}"
        ".arm .whisker,.arm .seed{stroke:#2a6fdb}.arm .dot{fill:#2a6fdb}"
        ".control .whisker,.control .seed{stroke:#8a8a8e}.control .dot{fill:#fff;stroke:#8a8a8e;stroke-width:2}"
        "@media(prefers-color-scheme:dark){text{fill:#d5d5d8}}</style>"
    )
    opening, rest = svg.split(">", 1)
    return f'{opening} xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}">{style}{rest}\n'


def _told(found: dict[str, Any], measure: str) -> str:
    scale = _SCALE.get(measure, 1.0)
    value, low, high = (scale * found[end] for end in ("value", "low", "high"))
    told = f"{value:.3g} ({low:.3g} – {high:.3g})"
    if "change" not in found:
        return with_minus(told)
    change, low, high = (scale * found[end] for end in ("change", "change_low", "change_high"))
    return with_minus(f"{told}; {change:+.3g} ({low:+.3g} – {high:+.3g})")


def _short(measure: str) -> str:
    if measure in ("text", "prompt"):
        return measure
    return f"{measure.upper()} × 1000" if measure in _SCALE else measure.upper()


def _numbers(found: dict[str, Any]) -> dict[str, float]:
    return {key: value for key, value in found.items() if isinstance(value, float)}
