"""What reports and their charts share: a frame that says in words what it shows, round ticks, the minus. Colours come
from the page."""

from __future__ import annotations

import math
from html import escape


def picture(title: str, body: str, described: str, *, width: float, height: float, left: float) -> str:
    """An SVG of its own size with its title at `left`; `described` is what a screen reader says after the title."""
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(f"{title}. {described}")}">'
        f'<text class="title" x="{left:g}" y="17">{escape(title)}</text>{body}</svg>'
    )


def with_minus(number: str) -> str:
    """A number as Python writes it, with a minus for its hyphen."""
    return number.replace("-", "−")


def round_ticks(low: float, high: float, *, most: int = 5) -> list[float]:
    """At most `most` + 1 multiples of 1, 2 or 5 times a power of ten within [low, high]; the value itself if they are
    equal."""
    if high <= low:
        return [low]
    exact = (high - low) / most
    power = 10.0 ** math.floor(math.log10(exact))
    step = next(power * each for each in (1, 2, 5, 10) if power * each >= exact * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [round(step * number, 12) for number in range(first, math.floor(high / step + 1e-9) + 1)]
