"""Thumbnails: how they are made, and packs of them, one file for the images of a unit. Derivable, so deletable; a pack
that is damaged is as good as none."""

import io
import os
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from PIL import Image

from ranking.errors import NotFoundError, SourceError
from ranking.images.cells import Footer, read_footer, read_images
from ranking.names import check_id
from ranking.store.blobs import Store
from ranking.store.parquet import new_tmp

SIDE = 256
"""Pixels of the square that a packed thumbnail fits into."""
SMALL = 128
"""Pictures no larger than this stay lossless: smoothing and blocks would hide what raters judged."""

_PACK = pa.schema([("image_uid", pa.string()), ("webp", pa.binary())])
_ROWS = 64  # a row group is what one thumbnail costs to read


def shrink(image: Image.Image, side: int) -> bytes:
    """A WebP of an RGB picture that fits into side × side pixels, never enlarged."""
    small = max(image.size) <= SMALL
    scale = min(1.0, side / max(image.size))
    if scale < 1.0:
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        image = image.resize(size, Image.Resampling.BICUBIC, reducing_gap=1.0)
    out = io.BytesIO()
    # This is made for each image that is scored: methods that take twice as long save some per cent of bytes.
    image.save(out, "WEBP", quality=80, method=0 if small else 1, lossless=small)
    return out.getvalue()


def pack_key(unit: str) -> str:
    """Where the thumbnails of a unit's images are."""
    return f"thumbs/{check_id('unit', unit)}.parquet"


class PackWriter:
    """Collects thumbnails on disk, and puts them into the store in the end; nothing is left if that is not reached."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._path = new_tmp(store)
        self._writer = pq.ParquetWriter(
            self._path,
            _PACK,
            compression={"image_uid": "zstd", "webp": "none"},
            use_dictionary=False,
            write_statistics=False,
            write_page_checksum=True,
        )
        self._waiting: list[tuple[str, bytes]] = []

    def __enter__(self) -> "PackWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):  # a full disk has been heard of already
            self._writer.close()
        self._path.unlink(missing_ok=True)

    def add(self, uid: str, webp: bytes) -> None:
        """One more."""
        self._waiting.append((uid, webp))
        if len(self._waiting) == _ROWS:
            self._write()

    def put(self, unit: str) -> bool:
        """Put what was added into the store, once, as the thumbnails of a unit; False if it had them."""
        self._write()
        self._writer.close()
        return self._store.put_file(pack_key(unit), self._path)

    def _write(self) -> None:
        if self._waiting:
            uids, webps = zip(*self._waiting, strict=True)
            self._writer.write_table(pa.table([uids, webps], schema=_PACK), row_group_size=_ROWS)
            self._waiting.clear()


def drop_thumbnails(store: Store, unit: str, uids: Collection[str]) -> bool:
    """Make the pack of a unit anew without these images, so that their bytes are gone from the store; False if it has
    none of them. A pack that is damaged goes as a whole. What is killed in between leaves no pack."""
    key = pack_key(unit)
    try:
        pack = pq.read_table(store.local(key), partitioning=None)
        keep = pc.invert(pc.is_in(pack["image_uid"], value_set=pa.array(sorted(uids), pa.string())))
        rest = pack.filter(keep)
    except NotFoundError:
        return False
    except (pa.ArrowException, OSError, KeyError):
        store.delete(key)
        return True
    if rest.num_rows == pack.num_rows:
        return False
    with PackWriter(store) as writer:
        for batch in rest.to_batches(max_chunksize=_ROWS):
            for uid, webp in zip(batch["image_uid"].to_pylist(), batch["webp"].to_pylist(), strict=True):
                writer.add(uid, webp)
        store.delete(key)
        if rest.num_rows:
            writer.put(unit)
    return True


def packed_uids(path: Path) -> frozenset[str]:
    """The images that a pack in a file has thumbnails of; SourceError where it is damaged or gone."""
    return frozenset(Pack.open(path).rows)


@dataclass(frozen=True)
class Pack:
    """What is in a pack: the row of each image. Thumbnails stay in the file until they are read. `written` tells this
    file from one that was put in its place."""

    path: Path
    footer: Footer
    rows: dict[str, int]
    written: tuple[int, int]

    @classmethod
    def open(cls, path: Path) -> "Pack":
        """The pack in a file; SourceError where it is damaged or gone."""
        with _open(path) as file:
            footer = read_footer(file, path.name)
            rows = {}
            for group in range(len(footer.starts) - 1):
                for row, uid in _column(file, path, footer, "image_uid", range(*footer.starts[group : group + 2])):
                    rows[uid.decode(errors="replace")] = row
            written = _written(file)
        return cls(path, footer, rows, written)

    def read(self, uid: str) -> bytes | None:
        """The thumbnail of an image, or None if it has none here; SourceError where the file is damaged, gone or
        another one by now."""
        row = self.rows.get(uid)
        if row is None:
            return None
        with _open(self.path) as file:
            if _written(file) != self.written:
                raise SourceError(f"thumbnails {self.path.name} were made anew", code="made-anew")
            ((_, webp),) = _column(file, self.path, self.footer, "webp", range(row, row + 1))
        return webp


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb", buffering=0)
    except OSError as error:
        raise SourceError(f"thumbnails {path.name} cannot be read ({error.strerror})") from error


def _written(file: BinaryIO) -> tuple[int, int]:
    status = os.fstat(file.fileno())
    return status.st_ino, status.st_mtime_ns


def _column(file: BinaryIO, path: Path, footer: Footer, column: str, rows: range) -> list[tuple[int, bytes]]:
    group = sum(start <= rows[0] for start in footer.starts) - 1 if rows else 0
    if not rows:
        return []
    found = list(read_images(file, path.name, footer, row_group=group, column=column, rows=rows))
    if not all(isinstance(cell, bytes) for _, cell in found):
        raise SourceError(f"thumbnails {path.name} have gaps")
    return [(row, cell) for row, cell in found if isinstance(cell, bytes)]
