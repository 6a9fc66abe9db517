"""The second stage: bytes become pictures, each once, and pictures what scorers see of them; what does not decode
becomes a status of its rows. Facts and thumbnails are made of the same pictures.

Threads, not processes: Pillow decodes outside the interpreter lock, and a picture passed between processes
would be copied twice. A decoder that kills the process kills a pool child, whose attempt is counted and
bounded.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

from numpy.typing import NDArray
from PIL import Image

from ranking.images import Found, ImageError, decode_rgb
from ranking.images.facts import ImageFacts, facts_of
from ranking.images.thumbnails import SIDE, shrink
from workers.engine.reader import Piece
from workers.engine.report import Stopwatch
from workers.scorers.base import View

IMAGES_AT_ONCE = 64
"""Decoded pictures are 3 bytes a pixel: 64 of one megapixel are 200 MB, and two batches are alive at a
time."""

_THREADS = min(8, os.cpu_count() or 1)


Seen = NDArray[Any] | str
"""What a view shows of a picture, or the status of one that it cannot show."""


@dataclass(frozen=True)
class Wanted:
    """What is made of each picture."""

    views: tuple[View, ...] = ()
    facts: bool = False
    thumbnails: bool = False


@dataclass(frozen=True)
class Decoded:
    """`images[i]`, what each view shows of a picture, belongs to item row `rows[i]`; an image of several items is the
    same object. `failed`: row to status. `facts` and `thumbnails` by uid, as far as they are wanted."""

    rows: list[int]
    images: list[dict[View, Seen]]
    failed: dict[int, str]
    facts: dict[str, ImageFacts]
    thumbnails: dict[str, bytes]


@dataclass(frozen=True)
class Examined:
    """One picture: what the views show of it, or its status."""

    seen: dict[View, Seen] | str
    facts: ImageFacts | None
    thumbnail: bytes | None


def decode_batches(
    pieces: Iterator[Piece],
    watch: Stopwatch,
    *,
    wanted: Wanted,
    at_once: int = IMAGES_AT_ONCE,
    threads: int = _THREADS,
) -> Iterator[Decoded]:
    """The pieces' images, decoded, in batches of up to `at_once` images."""
    with ThreadPoolExecutor(threads) as pool:
        for piece in pieces:
            uids = list(piece.images)
            for start in range(0, len(uids), at_once):
                part = uids[start : start + at_once]
                with watch.timing("decode"):
                    examined = list(pool.map(partial(_examine, wanted=wanted), [piece.images[uid] for uid in part]))
                yield _batch(piece, part, examined)


def _examine(data: Found, *, wanted: Wanted) -> Examined:
    try:
        image = decode_rgb(data)
    except ImageError as error:
        return Examined(error.status, facts_of(data, error) if wanted.facts else None, None)
    facts = facts_of(data, image) if wanted.facts else None
    thumbnail = shrink(image, SIDE) if wanted.thumbnails else None
    return Examined({view: _seen(view, image) for view in wanted.views}, facts, thumbnail)


def _seen(view: View, image: Image.Image) -> Seen:
    try:
        return view(image)
    except ImageError as error:
        return error.status


def _batch(piece: Piece, uids: list[str], examined: list[Examined]) -> Decoded:
    batch = Decoded([], [], {}, {}, {})
    for uid, result in zip(uids, examined, strict=True):
        if result.facts is not None:
            batch.facts[uid] = result.facts
        if result.thumbnail is not None:
            batch.thumbnails[uid] = result.thumbnail
        for row in piece.rows[uid]:
            if isinstance(result.seen, str):
                batch.failed[row] = result.seen
            else:
                batch.rows.append(row)
                batch.images.append(result.seen)
    return batch
