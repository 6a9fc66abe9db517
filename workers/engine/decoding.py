"""What is made of one picture: its facts, its thumbnail and what each view shows of it, from one decode. Pure
functions; `child` runs them in a process of their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ranking.images.decode import Found, ImageError, decode_rgb
from ranking.images.facts import ImageFacts, facts_of
from ranking.images.thumbnails import SIDE, shrink
from ranking.schema import CRASH
from workers.scorers.base import View

NUMBERS = "biuf"
"""The kinds of numpy types that a view may give: truth values, whole numbers, floats."""

Seen = NDArray[Any] | str
"""What a view shows of a picture, or the status of one that it cannot show."""


@dataclass(frozen=True)
class Wanted:
    """What is made of each picture."""

    views: tuple[View, ...] = ()
    facts: bool = False
    thumbnails: bool = False


@dataclass(frozen=True)
class Examined:
    """One picture: what the views show of it, or its status. `error` says in words why a view failed, or the decoder
    died; `seconds` is what all of it took."""

    seen: dict[View, Seen] | str
    facts: ImageFacts | None = None
    thumbnail: bytes | None = None
    error: str = ""
    seconds: float = 0.0


def examine(data: Found, wanted: Wanted) -> Examined:
    """Decode a picture once and make of it what is wanted. A view that fails costs the scores of those who look through
    it, no more."""
    try:
        image = decode_rgb(data)
    except ImageError as error:
        return Examined(error.status, facts_of(data, error) if wanted.facts else None)
    facts = facts_of(data, image) if wanted.facts else None
    thumbnail = shrink(image, SIDE) if wanted.thumbnails else None
    seen: dict[View, Seen] = {}
    failure = ""
    for view in wanted.views:
        seen[view], error_text = _seen(view, image)
        failure = failure or error_text
    return Examined(seen, facts, thumbnail, failure)


def crashed(data: Found, wanted: Wanted, error: str) -> Examined:
    """A picture whose decoder died twice, the second time with nothing else in its hands."""
    facts = facts_of(data, ImageError(error, status=CRASH)) if wanted.facts else None
    return Examined(CRASH, facts, error=error)


def _seen(view: View, image: Image.Image) -> tuple[Seen, str]:
    try:
        array = np.asarray(view(image), order="C")  # `ascontiguousarray` makes a number a row of one
        if array.dtype.kind not in NUMBERS:
            raise TypeError(f"a view gives numbers, not {array.dtype}")
        return array, ""
    except ImageError as error:
        return error.status, ""
    except Exception as error:  # a view may be anybody's code
        return CRASH, f"{view.make}: {type(error).__name__}: {error}"
