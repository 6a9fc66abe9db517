"""Image bytes as a browser may have them: sniffed, checked to decode, and as thumbnails. Writes nothing to the
store."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import pyarrow as pa
from PIL import Image

from ranking.datasets import Dataset
from ranking.errors import PairsieveError
from ranking.flags.takedowns import NOTHING, Taken
from ranking.images import Found, ImageError, TakenDownError, decode_rgb
from ranking.images.thumbnails import SIDE, SMALL, shrink
from ranking.names import sha256_hex
from ranking.schema import MISSING
from ranking.settings import Settings
from ranking.store.blobs import Store
from service.flags import FlagShelf
from service.problems import ApiProblem
from service.shelf import Recent, Shelf

log = logging.getLogger("pairsieve.service")

_WORKERS: Final = 4
_PATIENCE: Final = 20.0
_MADE_BYTES: Final = 64_000_000
"""Of thumbnails made on demand: some thousands."""

_Key = tuple[str, str, int]
"""A dataset's revision_sha, an image's uid, a size."""


@dataclass(frozen=True)
class Picture:
    """Bytes ready to send. `sha256` is that of `data`."""

    data: bytes
    media_type: str
    sha256: str


class Pictures:
    """Reads and shrinks the pictures of datasets; at most four at a time, since each may take 75 MB to decode.

    Thumbnails of 256 pixels come from the packs that scoring made; all others are made when they are asked for and
    kept in memory for a while.
    """

    def __init__(self, store: Store, settings: Settings, *, flags: FlagShelf | None = None) -> None:
        self._shelf = Shelf(store, settings)
        self._flags = flags or FlagShelf(store)
        self._taken = NOTHING
        self._turns = threading.BoundedSemaphore(_WORKERS)
        self._ahead = ThreadPoolExecutor(2, thread_name_prefix="pairsieve-thumbnails")
        self._made: Recent[_Key, bytes] = Recent(_MADE_BYTES)
        self._coming: dict[_Key, Future[None]] = {}

    def close(self) -> None:
        """End work done ahead."""
        self._ahead.shutdown(cancel_futures=True)

    def original(self, dataset: Dataset, uid: str) -> Picture:
        """The stored bytes; ApiProblem image-missing, image-corrupt or image-taken-down."""
        self._refuse_taken_down(dataset, uid)
        with self._turns:
            return checked_picture(self._found(dataset, uid))

    def thumbnail(self, dataset: Dataset, uid: str, size: int) -> Picture:
        """A WebP that fits into size × size, never enlarged."""
        self._refuse_taken_down(dataset, uid)
        key = (dataset.revision_sha, uid, size)
        data = self._shelf.packed(dataset, uid) if size == SIDE else None
        coming = self._coming.get(key)
        if data is None and coming is not None:
            wait([coming], timeout=_PATIENCE)
        data = data or self._made.get(key)
        if data is None:
            seen = self._taken
            with self._turns:
                data = self._make(key, self._found(dataset, uid), seen)
        return Picture(data, "image/webp", sha256_hex(data))

    def prepare(self, dataset: Dataset, uids: Iterable[str], size: int) -> None:
        """Begin to make the thumbnails that a page is about to ask for and scoring has not made: one pass over the
        sources is much cheaper than one for each picture. Returns at once."""
        missing: dict[str, Future[None]] = {}
        for uid in dict.fromkeys(uids):
            key = (dataset.revision_sha, uid, size)
            if key not in self._coming and self._made.get(key) is None:
                missing[uid] = self._coming[key] = Future()
        if missing:
            self._ahead.submit(self._make_many, dataset, missing, size)

    def is_small(self, dataset: Dataset, uid: str) -> bool:
        """Whether a picture is so small that it should be drawn with hard pixels; False if it cannot be read."""
        try:
            # Thumbnails are never enlarged, and no small picture is shrunk.
            return is_small(self.thumbnail(dataset, uid, SIDE).data)
        except (ApiProblem, PairsieveError):
            return False

    def _refuse_taken_down(self, dataset: Dataset, uid: str) -> None:
        """ApiProblem image-taken-down for an image that was, by its name; by its bytes the reader tells."""
        taken = self._flags.taken()
        if taken != self._taken:  # thumbnails in memory do not say what they were made of
            self._made.clear()
            self._shelf.forget_packs()
            self._taken = taken
        if (dataset.name, uid) in taken.images:
            raise ApiProblem("image-taken-down", "This image was taken down; /v1/takedowns says why.")

    def _found(self, dataset: Dataset, uid: str) -> Found:
        index, reader = self._shelf.of(dataset)
        return reader.read_items(index.place(uid)).get(uid)

    def _make(self, key: _Key, found: Found, seen: Taken) -> bytes:
        """A thumbnail, kept unless something was taken down since its picture was read, by those that were `seen`."""
        made = shrink(_decoded(found), key[2])
        if seen is self._taken:
            self._made.put(key, made, weight=len(made))
        return made

    def _make_many(self, dataset: Dataset, missing: dict[str, Future[None]], size: int) -> None:
        # Whatever goes wrong here, the request for the picture meets it again and says what it is.
        seen = self._taken
        try:
            index, reader = self._shelf.of(dataset)
            todo = []
            for uid, coming in missing.items():
                if size == SIDE and self._shelf.packed(dataset, uid) is not None:
                    coming.set_result(None)
                else:
                    todo.append(index.place(uid))
            for uid, found in reader.read_each(pa.concat_tables(todo)) if todo else ():
                with self._turns, suppress(ApiProblem):
                    self._make((dataset.revision_sha, uid, size), found, seen)
                missing[uid].set_result(None)
        except PairsieveError as error:
            log.warning("thumbnails of %s could not be made ahead: %s", dataset.name, error)
        finally:
            for uid, coming in missing.items():
                self._coming.pop((dataset.revision_sha, uid, size), None)
                if not coming.done():
                    coming.set_result(None)


def is_small(data: bytes) -> bool:
    """Whether a picture should be drawn with hard pixels; ApiProblem if it does not decode."""
    return max(_decoded(data).size) <= SMALL


def checked_picture(data: Found) -> Picture:
    """The bytes with the type they have, after they decoded; ApiProblem image-missing or image-corrupt."""
    _decoded(data)
    assert isinstance(data, bytes)  # or it would not have decoded
    return Picture(data, _media_type(data), sha256_hex(data))


def _decoded(data: Found) -> Image.Image:
    try:
        return decode_rgb(data)
    except TakenDownError as error:
        raise ApiProblem("image-taken-down", "This image was taken down; /v1/takedowns says why.") from error
    except ImageError as error:
        code = "image-missing" if error.status == MISSING else "image-corrupt"
        text = str(error)
        raise ApiProblem(code, f"{text[0].upper()}{text[1:]}.") from error


def _media_type(data: bytes) -> str:
    # decode_rgb has accepted the bytes, so they are one of three formats.
    if data.startswith(b"\xff\xd8"):
        return "image/jpeg"
    if data.startswith(b"\x89PNG"):
        return "image/png"
    return "image/webp"
