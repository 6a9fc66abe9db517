"""The report of a trained scorer: one JSON document and one page that needs nothing else. Computes nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jinja2

from ranking.names import canonical_json
from training.reward.charts import learning_curve, reliability
from training.reward.compare import PROTOCOLS, Comparison, Judged

JSON, PAGE = "report.json", "report.html"
_TEMPLATE = Path(__file__).with_name("report.html.j2")


def write_report(
    folder: Path, ref: str, facts: dict[str, Any], curve: list[dict[str, float]], comparison: Comparison
) -> dict[str, Path]:
    """Write both into `folder`; returns them by name."""
    folder.mkdir(parents=True, exist_ok=True)
    plain = {"scorer": ref, "facts": facts, "curve": curve, "comparison": comparison.plain()}
    (folder / JSON).write_bytes(canonical_json(json.loads(json.dumps(plain).replace("NaN", "null"))))
    (folder / PAGE).write_text(page(ref, facts, curve, comparison), encoding="utf-8")
    return {name: folder / name for name in (JSON, PAGE)}


def page(ref: str, facts: dict[str, Any], curve: list[dict[str, float]], comparison: Comparison) -> str:
    """The page as HTML. Raises jinja2's UndefinedError where a fact is missing."""
    trained = comparison.judged[0]
    base = next((each for each in comparison.judged if each.role == "base"), None)
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["percent"] = _percent
    return environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(
        ref=ref,
        facts=facts,
        comparison=comparison,
        protocols=PROTOCOLS,
        names={each.name: _called(each, facts) for each in comparison.judged},
        config=_changed(facts["config"]),
        learning=learning_curve(curve, best_step=facts["best_step"]),
        reliability=reliability(trained.calibration, base.calibration if base else None),
        trained=trained,
    )


def _called(judged: Judged, facts: dict[str, Any]) -> str:
    return {"trained": "trained", "base": f"{facts['base']}, before training"}.get(
        judged.role, judged.name + (" *" if judged.role == "seen" else "")
    )


def _changed(config: dict[str, Any]) -> dict[str, str]:
    return {key: json.dumps(value) for key, value in config.items() if value is not None}


def _percent(value: float) -> str:
    return "–" if value != value else f"{100 * value:.1f}"
