"""The card of Toyworld's models: how they were trained and what they reach, from measurements only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2

_TEMPLATE = Path(__file__).with_name("card.md.j2")


def write_card(out: Path, measured: dict[str, Any], size: int) -> None:
    """Write `out/CARD.md`. Raises jinja2's UndefinedError where a measurement is missing."""
    template = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True).from_string(
        _TEMPLATE.read_text(encoding="utf-8")
    )
    text = template.render(size=size, made=measured["made_with"], **measured)
    (out / "CARD.md").write_text(text, encoding="utf-8")
