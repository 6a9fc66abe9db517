"""The second stage: bytes become pictures, each once; what does not decode becomes a status of its rows.

Threads, not processes: Pillow decodes outside the interpreter lock, and a picture passed between processes
would be copied twice. A decoder that kills the process kills a pool child, whose attempt is counted and
bounded.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from PIL import Image

from ranking.images import ImageError, decode_rgb
from workers.engine.reader import Piece
from workers.engine.report import Stopwatch

IMAGES_AT_ONCE = 64
"""Decoded pictures are 3 bytes a pixel: 64 of one megapixel are 200 MB, and two batches are alive at a
time."""

_THREADS = min(8, os.cpu_count() or 1)


@dataclass(frozen=True)
class Batch:
    """`images[i]` belongs to item row `rows[i]`; an image of several items is the same object. `failed`: row
    to status."""

    rows: list[int]
    images: list[Image.Image]
    failed: dict[int, str]


def decode_batches(
    pieces: Iterator[Piece], watch: Stopwatch, *, at_once: int = IMAGES_AT_ONCE, threads: int = _THREADS
) -> Iterator[Batch]:
    """The pieces' images, decoded, in batches of up to `at_once` images."""
    with ThreadPoolExecutor(threads) as pool:
        for piece in pieces:
            uids = list(piece.images)
            for start in range(0, len(uids), at_once):
                part = uids[start : start + at_once]
                with watch.timing("decode"):
                    decoded = list(pool.map(_decode, [piece.images[uid] for uid in part]))
                yield _batch(piece, part, decoded)


def _decode(data: bytes | None) -> Image.Image | str:
    try:
        return decode_rgb(data)
    except ImageError as error:
        return error.status


def _batch(piece: Piece, uids: list[str], decoded: list[Image.Image | str]) -> Batch:
    batch = Batch([], [], {})
    for uid, result in zip(uids, decoded, strict=True):
        for row in piece.rows[uid]:
            if isinstance(result, str):
                batch.failed[row] = result
            else:
                batch.rows.append(row)
                batch.images.append(result)
    return batch
