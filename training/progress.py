"""How long work in this room tells how far it is."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called as progress(stage, done, total). `stage` is a word for what is under way, as "latents", "train" or "cells";
it may be any, and each is a bar of its own."""


def silent(*_: object) -> None:
    """Progress that nobody watches."""


def roughly(seconds: float) -> str:
    """A span of time that was estimated, for people."""
    if seconds < 90:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:,.1f} h"
