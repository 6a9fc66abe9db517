"""Pictures decoded by threads that run ahead of whoever uses them."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

from PIL import Image

from ranking.images import Found, ImageError, decode_rgb
from training.data.pairs import Pictures

T = TypeVar("T")

_AHEAD = 64


def seen(
    pictures: Pictures, uids: Collection[str], look: Callable[[str, Image.Image, bytes], T]
) -> Iterator[tuple[str, T]]:
    """What `look` makes of each picture: called by a thread with its uid, the RGB picture and its bytes. Pictures that
    cannot be read, or of which `look` raises ImageError, are left out."""

    def decoded(uid: str, data: Found) -> T:
        image = decode_rgb(data)
        assert isinstance(data, bytes)
        return look(uid, image, data)

    found = iter(pictures(uids))
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        ahead: deque[tuple[str, Future[T]]] = deque()
        try:
            while True:
                for uid, data in islice(found, _AHEAD - len(ahead)):
                    ahead.append((uid, pool.submit(decoded, uid, data)))
                if not ahead:
                    return
                uid, coming = ahead.popleft()
                try:
                    made = coming.result()
                except ImageError:
                    continue
                yield uid, made
        finally:
            for _, coming in ahead:
                coming.cancel()
