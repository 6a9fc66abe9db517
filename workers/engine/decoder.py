"""The second stage: bytes become pictures, each once; what does not decode becomes a status of its rows. What else
wants the decoded picture, facts and thumbnails, gets it here.

Threads, not processes: Pillow decodes outside the interpreter lock, and a picture passed between processes
would be copied twice. A decoder that kills the process kills a pool child, whose attempt is counted and
bounded.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from PIL import Image

from ranking.images import Found, ImageError, decode_rgb
from ranking.images.facts import ImageFacts, facts_of
from ranking.images.thumbnails import SIDE, shrink
from workers.engine.reader import Piece
from workers.engine.report import Stopwatch

IMAGES_AT_ONCE = 64
"""Decoded pictures are 3 bytes a pixel: 64 of one megapixel are 200 MB, and two batches are alive at a
time."""

_THREADS = min(8, os.cpu_count() or 1)


@dataclass(frozen=True)
class Wanted:
    """What is made of each picture besides scores."""

    facts: bool = False
    thumbnails: bool = False


@dataclass(frozen=True)
class Batch:
    """`images[i]` belongs to item row `rows[i]`; an image of several items is the same object. `failed`: row
    to status. `facts` and `thumbnails` by uid, as far as they are wanted."""

    rows: list[int]
    images: list[Image.Image]
    failed: dict[int, str]
    facts: dict[str, ImageFacts]
    thumbnails: dict[str, bytes]


@dataclass(frozen=True)
class _Examined:
    image: Image.Image | ImageError
    facts: ImageFacts | None
    thumbnail: bytes | None


def decode_batches(
    pieces: Iterator[Piece],
    watch: Stopwatch,
    *,
    wanted: Wanted,
    at_once: int = IMAGES_AT_ONCE,
    threads: int = _THREADS,
) -> Iterator[Batch]:
    """The pieces' images, decoded, in batches of up to `at_once` images."""
    with ThreadPoolExecutor(threads) as pool:
        for piece in pieces:
            uids = list(piece.images)
            for start in range(0, len(uids), at_once):
                part = uids[start : start + at_once]
                with watch.timing("decode"):
                    examined = list(pool.map(partial(_examine, wanted=wanted), [piece.images[uid] for uid in part]))
                yield _batch(piece, part, examined)


def _examine(data: Found, *, wanted: Wanted) -> _Examined:
    image: Image.Image | ImageError
    try:
        image = decode_rgb(data)
    except ImageError as error:
        image = error
    facts = facts_of(data, image) if wanted.facts else None
    thumbnail = shrink(image, SIDE) if wanted.thumbnails and isinstance(image, Image.Image) else None
    return _Examined(image, facts, thumbnail)


def _batch(piece: Piece, uids: list[str], examined: list[_Examined]) -> Batch:
    batch = Batch([], [], {}, {}, {})
    for uid, result in zip(uids, examined, strict=True):
        if result.facts is not None:
            batch.facts[uid] = result.facts
        if result.thumbnail is not None:
            batch.thumbnails[uid] = result.thumbnail
        for row in piece.rows[uid]:
            if isinstance(result.image, ImageError):
                batch.failed[row] = result.image.status
            else:
                batch.rows.append(row)
                batch.images.append(result.image)
    return batch
