"""The first stage of a slice: its items and, piece by piece, the bytes of their images. Decodes nothing."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import pyarrow as pa

from ranking.datasets import get_dataset
from ranking.images import ImageReader
from ranking.plan import Plan
from ranking.store.blobs import Store
from workers.engine.report import Stopwatch

IMAGES_AT_ONCE = 256
"""Bounds memory (compressed bytes), against reading the beginning of a row group once more for each piece."""

T = TypeVar("T")
_END = object()


@dataclass(frozen=True)
class Piece:
    """Some images of a slice: for each uid its bytes (None where the source has none) and the items that show
    it."""

    images: dict[str, bytes | None]
    rows: dict[str, list[int]]


def read_pieces(
    store: Store, plan: Plan, items: pa.Table, watch: Stopwatch, *, at_once: int = IMAGES_AT_ONCE
) -> Iterator[Piece]:
    """The images of `items` (ITEMS schema), each once, in the order they first appear."""
    reader = ImageReader(store, get_dataset(store, plan.dataset, revision=plan.revision))
    rows: dict[str, list[int]] = {}
    for row, uid in enumerate(items["image_uid"].to_pylist()):
        rows.setdefault(uid, []).append(row)
    uids = list(rows)
    for start in range(0, len(uids), at_once):
        part = uids[start : start + at_once]
        with watch.timing("read"):
            images = reader.read_items(items.take([rows[uid][0] for uid in part]))
        yield Piece({uid: images.get(uid) for uid in part}, {uid: rows[uid] for uid in part})


def one_ahead(source: Iterator[T]) -> Iterator[T]:
    """The same elements, each made in another thread while the one before it is in use."""
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(next, source, _END)
        while (element := waiting.result()) is not _END:
            waiting = pool.submit(next, source, _END)
            yield element  # type: ignore[misc]
