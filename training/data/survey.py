"""How large a run's pictures are, and which of them can be read, where that must be known before any is encoded."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ranking.images import Found, ImageError, decode_rgb, size_of
from training.data.pairs import Pictures
from training.data.uids import Places


def survey(
    pictures: Pictures,
    uids: pa.Array,
    *,
    thoroughly: bool,
    threads: int = 1,
    on_images: Callable[[int, int], None] | None = None,
) -> NDArray[np.int32]:
    """(height, width) of each picture in pixels, int32 (M, 2); zeros for one that cannot be read. By headers alone, or
    where `thoroughly` by decoding all of it in some threads. `on_images` hears (done, total)."""
    places, sizes = Places(uids), np.zeros((len(uids), 2), np.int32)
    look = _decoded_size if thoroughly else _header_size
    coming: deque[tuple[str, Future[tuple[int, int]]]] = deque()
    done = 0

    def take() -> None:
        nonlocal done
        uid, found = coming.popleft()
        sizes[places.of([uid])] = found.result()
        done += 1
        if on_images and (done % 64 == 0 or done == len(uids)):
            on_images(done, len(uids))

    with ThreadPoolExecutor(max(1, threads), thread_name_prefix="pairsieve-survey") as pool:
        for uid, data in pictures(uids.to_pylist()):
            coming.append((uid, pool.submit(look, data)))
            if len(coming) > 4 * threads:
                take()
        while coming:
            take()
    return sizes


def _header_size(data: Found) -> tuple[int, int]:
    try:
        return size_of(data)
    except ImageError:
        return 0, 0


def _decoded_size(data: Found) -> tuple[int, int]:
    try:
        image = decode_rgb(data)
    except ImageError:
        return 0, 0
    return image.height, image.width
