"""How long work in this room tells how far it is."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called as progress(stage, done, total); stages are "encode", "train", "base" and "run"."""


def silent(*_: object) -> None:
    """Progress that nobody watches."""
