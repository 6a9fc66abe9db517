"""The first stage of a slice: its items and, piece by piece, the bytes of their images. Decodes nothing."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import pyarrow as pa

from ranking.images import Found, ImageReader
from workers.engine.report import Stopwatch

IMAGES_AT_ONCE = 64
BYTES_AT_ONCE = 32_000_000
"""A piece ends with the image that reaches either: this bounds the memory that compressed images take."""

T = TypeVar("T")
_END = object()


@dataclass(frozen=True)
class Piece:
    """Some images of a slice: for each uid what its source has and the items that show it."""

    images: dict[str, Found]
    rows: dict[str, list[int]]


def read_pieces(
    reader: ImageReader, items: pa.Table, watch: Stopwatch, *, at_once: int = IMAGES_AT_ONCE
) -> Iterator[Piece]:
    """The images of `items` (ITEMS schema), each once, in the order in which they lie in their sources."""
    rows: dict[str, list[int]] = {}
    for row, uid in enumerate(items["image_uid"].to_pylist()):
        rows.setdefault(uid, []).append(row)
    images: dict[str, Found] = {}
    held = 0
    coming = reader.read_each(items)
    while True:
        with watch.timing("read"):
            found = next(coming, None)
        if found is not None:
            uid, data = found
            images[uid] = data
            held += len(data) if isinstance(data, bytes) else 0
        if images and (found is None or len(images) >= at_once or held >= BYTES_AT_ONCE):
            yield Piece(images, {uid: rows[uid] for uid in images})
            images, held = {}, 0
        if found is None:
            return


def one_ahead(source: Iterator[T]) -> Iterator[T]:
    """The same elements, each made in another thread while the one before it is in use."""
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(next, source, _END)
        while (element := waiting.result()) is not _END:
            waiting = pool.submit(next, source, _END)
            yield element  # type: ignore[misc]
