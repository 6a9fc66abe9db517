"""How values read on a page: numbers, times, and text from strangers with its hidden characters made
visible."""

from __future__ import annotations

import math
import unicodedata
from datetime import datetime
from typing import Any, Final

from markupsafe import Markup, escape

MINUS: Final = "−"
_SPACES: Final = frozenset("\t\n\r")
_JOINERS: Final = frozenset("\u200c\u200d")  # needed to write Persian and to join emoji; they hide nothing


def visible(text: str) -> str:
    """`text` with every control, format (bidi, zero-width) and line-separator character spelled out as
    [U+202E]."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(f"[U+{ord(char):04X}]" if _hidden(char) else char for char in text)


def finalize(value: Any) -> Any:
    """What Jinja prints for an expression: plain text is made visible before it is escaped; None prints
    nothing."""
    if value is None:
        return ""
    if isinstance(value, str) and not isinstance(value, Markup):
        return visible(value)
    return value


def number(value: float | int | None, *, signed: bool = False) -> str:
    """A number at reading precision (four significant digits, thousands grouped), an en dash for none."""
    if value is None or not math.isfinite(value):
        return "–"
    if isinstance(value, int) or (float(value).is_integer() and abs(value) >= 1000):
        text = f"{abs(value):,.0f}"
    elif value != 0 and not 1e-3 <= abs(value) < 1e6:
        text = f"{abs(value):.2e}"
    else:
        digits = max(0, 3 - math.floor(math.log10(abs(value)))) if value else 2
        text = f"{abs(value):,.{min(digits, 4)}f}"
    sign = MINUS if value < 0 else "+" if signed and value > 0 else ""
    return sign + text


def percent(part: float, whole: float) -> str:
    """part / whole as a percentage; an en dash where there is no whole."""
    return f"{100 * part / whole:.1f} %" if whole else "–"


def moment(value: str | datetime | None) -> str:
    """A point in time to the minute, in UTC."""
    if value is None:
        return "–"
    try:
        when = datetime.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        return str(value)
    return f"{when:%Y-%m-%d %H:%M} UTC"


def duration(seconds: float) -> str:
    """A span of time in its two largest units."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86400:,} d {whole % 86400 // 3600} h"


def size(count: float) -> str:
    """Bytes, in the decimal unit that leaves one to three digits before the point."""
    for unit, power in (("PB", 1e15), ("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= power:
            return f"{count / power:.3g} {unit}"
    return f"{count:.0f} B"


def short(value: str, length: int = 12) -> str:
    """The first characters of an id or hash."""
    return value[:length]


def words(count: int, one: str, many: str | None = None) -> str:
    """A count with its noun: 1 pair, 2 pairs."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def code(text: str) -> Markup:
    """`text` with what stands between backticks as code; everything is escaped."""
    parts = [escape(visible(part)) for part in text.split("`")]
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if index % 2 else part for index, part in enumerate(parts)
    )


def _hidden(char: str) -> bool:
    if char in _SPACES or char in _JOINERS:
        return False
    return unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp")
