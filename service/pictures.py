"""Image bytes as a browser may have them: sniffed, checked to decode, and as thumbnails kept in the store."""

from __future__ import annotations

import io
import logging
import threading
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from PIL import Image

from ranking.datasets import Dataset
from ranking.errors import PairsieveError
from ranking.images import ImageError, ImageReader, decode_rgb
from ranking.names import canonical_json, sha256_hex
from ranking.schema import MISSING
from ranking.store.blobs import Store
from service.problems import ApiProblem

log = logging.getLogger("pairsieve.service")

SIZES: Final = (256, 512)
PIXELATED_UP_TO: Final = 128
"""Pictures no larger than this are drawn with hard pixels: smoothing would hide what raters judged."""

_WORKERS: Final = 4
_PATIENCE: Final = 20.0


@dataclass(frozen=True)
class Picture:
    """Bytes ready to send. `sha256` is that of `data`."""

    data: bytes
    media_type: str
    sha256: str


class Pictures:
    """Reads and shrinks the pictures of datasets; at most four at a time, since each may take 75 MB to decode."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._turns = threading.BoundedSemaphore(_WORKERS)
        self._ahead = ThreadPoolExecutor(2, thread_name_prefix="pairsieve-thumbnails")
        self._coming: dict[str, Future[None]] = {}
        self._small: dict[tuple[str, str], bool] = {}

    def close(self) -> None:
        """End work done ahead."""
        self._ahead.shutdown(cancel_futures=True)

    def original(self, dataset: Dataset, uid: str) -> Picture:
        """The stored bytes; ApiProblem image-missing or image-corrupt."""
        with self._turns:
            return checked_picture(self._bytes(dataset, uid))

    def thumbnail(self, dataset: Dataset, uid: str, size: int) -> Picture:
        """A WebP that fits into size × size, never enlarged; made once and then read from the store."""
        key = _key(dataset, uid, size)
        coming = self._coming.get(key)
        if coming is not None:
            wait([coming], timeout=_PATIENCE)
        if self._store.exists(key):
            data = self._store.get(key)
        else:
            with self._turns:
                data = self._make(key, self._bytes(dataset, uid), size)
        return Picture(data, "image/webp", sha256_hex(data))

    def prepare(self, dataset: Dataset, uids: Iterable[str], size: int) -> None:
        """Begin to make the thumbnails that a page is about to ask for: one pass over the sources is much
        cheaper than one for each picture. Returns at once."""
        missing = {}
        for uid in dict.fromkeys(uids):
            key = _key(dataset, uid, size)
            if key not in self._coming and not self._store.exists(key):
                missing[uid] = self._coming[key] = Future()
        if missing:
            self._ahead.submit(self._make_many, dataset, missing, size)

    def is_small(self, dataset: Dataset, uid: str) -> bool:
        """Whether a picture is so small that it should be drawn with hard pixels; False if it cannot be read."""
        known = (dataset.revision_sha, uid)
        if known not in self._small:
            try:
                self._small[known] = is_small(self._bytes(dataset, uid))
            except (ApiProblem, PairsieveError):
                return False
        return self._small[known]

    def _bytes(self, dataset: Dataset, uid: str) -> bytes:
        data = ImageReader(self._store, dataset).read([uid]).get(uid)
        if not data:
            raise ApiProblem("image-missing", f"Dataset {dataset.name} has no bytes for this image.")
        return data

    def _make(self, key: str, data: bytes, size: int) -> bytes:
        made = _shrink(_decoded(data), size)
        try:
            self._store.put_if_absent(key, made)
        except (OSError, PairsieveError) as error:  # a full disk costs the next viewer time, not this one
            log.warning("the thumbnail %s could not be kept: %s", key, error)
        return made

    def _make_many(self, dataset: Dataset, missing: dict[str, Future[None]], size: int) -> None:
        # Whatever goes wrong here, the request for the picture meets it again and says what it is.
        try:
            found = ImageReader(self._store, dataset).read(missing)
            for uid, coming in missing.items():
                data = found.get(uid)
                if data:
                    with self._turns, suppress(ApiProblem):
                        self._make(_key(dataset, uid, size), data, size)
                coming.set_result(None)
        except PairsieveError as error:
            log.warning("thumbnails of %s could not be made ahead: %s", dataset.name, error)
        finally:
            for uid, coming in missing.items():
                self._coming.pop(_key(dataset, uid, size), None)
                if not coming.done():
                    coming.set_result(None)


def is_small(data: bytes) -> bool:
    """Whether a picture should be drawn with hard pixels; ApiProblem if it does not decode."""
    return max(_decoded(data).size) <= PIXELATED_UP_TO


def checked_picture(data: bytes) -> Picture:
    """The bytes with the type they have, after they decoded; ApiProblem image-missing or image-corrupt."""
    _decoded(data)
    return Picture(data, _media_type(data), sha256_hex(data))


def _key(dataset: Dataset, uid: str, size: int) -> str:
    name = sha256_hex(canonical_json([dataset.name, uid]))
    return f"thumbs/{size}/{name[:2]}/{name}.webp"


def _decoded(data: bytes) -> Image.Image:
    try:
        return decode_rgb(data)
    except ImageError as error:
        code = "image-missing" if error.status == MISSING else "image-corrupt"
        text = str(error)
        raise ApiProblem(code, f"{text[0].upper()}{text[1:]}.") from error


def _shrink(image: Image.Image, size: int) -> bytes:
    lossless = max(image.size) <= PIXELATED_UP_TO  # a few kB, and block artefacts would show
    image.thumbnail((size, size), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    image.save(out, "WEBP", quality=86, method=4, lossless=lossless)
    return out.getvalue()


def _media_type(data: bytes) -> str:
    # decode_rgb has accepted the bytes, so they are one of three formats.
    if data.startswith(b"\xff\xd8"):
        return "image/jpeg"
    if data.startswith(b"\x89PNG"):
        return "image/png"
    return "image/webp"
