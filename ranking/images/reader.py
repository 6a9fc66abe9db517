"""Reads the bytes of a dataset's images from the sources they were ingested from: cells of Parquet files, image files
below a source's root, or addresses. Decodes nothing."""

import errno
import io
import logging
import os
import stat
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc

from ranking import duck, schema
from ranking.datasets import Dataset, Source
from ranking.errors import SourceError
from ranking.flags.takedowns import LiveTakedowns
from ranking.images.cells import Footer, read_footer, read_images
from ranking.images.decode import MAX_BYTES, Found, ImageError, TakenDownError, too_large
from ranking.names import sha256_hex
from ranking.store.blobs import Store

log = logging.getLogger("pairsieve.images")

FetchUrl = Callable[[str], bytes]
"""Gets what an address holds; raises ImageError where that cannot be had."""

POINTER = ("image_uid", "source", "row_group", "row", "column", "file")
"""The columns of an items table that say where an image is."""

_AT_ONCE = 8
"""Requests to other machines under way at once; each may hold 20 MB."""


class ImageReader:
    """Reads a dataset's images. What it remembers between calls are the footers of a few sources.

    Without `fetch` (ranking.images.fetch.UrlFetcher) images behind an address are missing. Of an image that was taken
    down, by its name or its bytes, nobody gets more than a TakenDownError: all that shows, scores, exports or trains
    reads here.
    """

    def __init__(self, store: Store, dataset: Dataset, *, fetch: FetchUrl | None = None) -> None:
        self._store = store
        self._dataset = dataset
        self._fetch = fetch
        self._takedowns = LiveTakedowns(store)
        self._sources = {source.index: source for source in dataset.sources}
        self._footers: dict[tuple[int, int], Footer] = {}
        self._warned: set[str] = set()
        self._lock = threading.Lock()

    def read(self, uids: Iterable[str]) -> dict[str, Found]:
        """What the sources have for each image that the dataset knows; unknown uids are left out. Holds all of it at
        once: for many images see `read_each`."""
        return dict(self.read_each(self.places(uids)))

    def read_items(self, items: pa.Table) -> dict[str, Found]:
        """The same for the images of an items table (the columns POINTER), without a look-up."""
        return dict(self.read_each(items))

    def places(self, uids: Iterable[str]) -> pa.Table:
        """Where each image that the dataset knows lies: the columns POINTER, a row an image."""
        wanted = pa.table({"uid": pa.array(sorted(set(uids)), pa.string())})
        paths = [self._store.local(file.file) for file in self._dataset.items_files]
        if not wanted.num_rows or not paths:
            return schema.ITEMS.empty_table().select(POINTER)
        columns = ", ".join(duck.identifier(name) for name in POINTER)
        with duck.connect() as con:
            con.register("wanted", wanted)
            return duck.arrow(
                con,
                f"""SELECT DISTINCT ON (image_uid) {columns}
                    FROM {duck.parquet_scan(paths)} SEMI JOIN wanted ON image_uid = uid
                    ORDER BY image_uid, "column" IS NULL AND file IS NULL, source, row""",
            )

    def read_each(self, items: pa.Table) -> Iterator[tuple[str, Found]]:
        """What the sources have for each image of an items table, once, in the order in which they lie there: each
        source is opened once and passed once, and one image is in memory at a time (eight behind addresses or in
        remote folders). An image under several pointers is read by the first that leads to a source.

        Raises SourceError for a source that is gone, changed or damaged.
        """
        taken = self._takedowns.now()
        if not taken:
            yield from self._read_each(items)
            return
        named = taken.of(self._dataset.name)
        hidden = pc.is_in(items["image_uid"].cast(pa.string()), value_set=pa.array(sorted(named), pa.string()))
        for uid in pc.unique(items.filter(hidden)["image_uid"]).to_pylist():
            yield uid, TakenDownError(uid)
        for uid, found in self._read_each(items.filter(pc.invert(hidden))):
            sha256 = sha256_hex(found) if taken.contents and isinstance(found, bytes) else None
            yield uid, TakenDownError(uid, sha256=sha256) if sha256 in taken.contents else found

    def _read_each(self, items: pa.Table) -> Iterator[tuple[str, Found]]:
        pointed = pc.or_(pc.is_valid(items["column"]), pc.is_valid(items["file"]))
        seen: set[str] = set()
        ranked = items.select(POINTER).append_column("pointed", pointed)
        places = []
        for item in ranked.filter(pointed).to_pylist():
            if item["image_uid"] not in seen:
                seen.add(item["image_uid"])
                places.append(item)
        for uid in pc.unique(ranked.filter(pc.invert(pointed))["image_uid"]).to_pylist():
            if uid not in seen:
                yield uid, None
        places.sort(key=lambda item: (item["source"], item["file"] or "", item["column"] or "", item["row"]))
        for index, group in groupby(places, itemgetter("source")):
            yield from self._read_source(self._sources[index], list(group))

    def _read_source(self, source: Source, places: list[dict[str, Any]]) -> Iterator[tuple[str, Found]]:
        cells = [place for place in places if place["file"] is None]
        addresses = [place for place in places if place["file"] is not None and _is_address(place["file"])]
        files = [place for place in places if place["file"] is not None and not _is_address(place["file"])]
        if cells:
            yield from self._read_cells(source, cells)
        if files:
            yield from _read_files(source.root, files)
        if addresses:
            yield from _side_by_side(addresses, self._fetched)

    def _read_cells(self, source: Source, places: list[dict[str, Any]]) -> Iterator[tuple[str, Found]]:
        with _open_source(source) as file:
            footer = self._footer(source, file)
            key = itemgetter("row_group", "column")
            for (group, column), cells in groupby(sorted(places, key=lambda place: (key(place), place["row"])), key):
                uids: dict[int, list[str]] = {}
                for cell in cells:
                    uids.setdefault(cell["row"], []).append(cell["image_uid"])
                found = read_images(file, source.uri, footer, row_group=group, column=column, rows=sorted(uids))
                for row, data in found:
                    for uid in uids[row]:
                        yield uid, data

    def _footer(self, source: Source, file: BinaryIO) -> Footer:
        # A source that was replaced by one of the same size has another time, unless it lies elsewhere.
        changed = os.fstat(file.fileno()).st_mtime_ns if "://" not in source.uri else 0
        key = (source.index, changed)
        with self._lock:
            if key not in self._footers:
                self._footers[key] = read_footer(file, source.uri)
                while len(self._footers) > 16:
                    del self._footers[next(iter(self._footers))]
            return self._footers[key]

    def _fetched(self, address: str) -> Found:
        host = _host(address)
        try:
            if self._fetch is None:
                raise ImageError(
                    "images behind addresses are not fetched",
                    status=schema.MISSING,
                    hint="set PAIRSIEVE_IMAGE_URLS and PAIRSIEVE_IMAGE_HOSTS",
                )
            return self._fetch(address)
        except ImageError as error:
            with self._lock:
                new = host not in self._warned and len(self._warned) < 100
                self._warned.add(host)
            if new:
                log.warning("no image from %s (said once for a host): %s", host, error)
            return error


def _host(address: str) -> str:
    host = address.partition("://")[2].partition("/")[0][:100]
    return "".join(char if char.isprintable() else "?" for char in host)


def _is_address(file: str) -> bool:
    return file.startswith(("https://", "http://"))


def _open_source(source: Source) -> BinaryIO:
    if "://" in source.uri:
        file = _open_remote(source.uri, missing=lambda: _gone(source.uri))
        size = file.seek(0, io.SEEK_END)
    else:
        path = Path(source.uri)
        if not path.is_file():
            raise _gone(source.uri)
        try:
            file = path.open("rb", buffering=0)
        except OSError as error:
            raise SourceError(
                f"source {source.uri} cannot be read ({error.strerror})", hint="check the file"
            ) from error
        size = os.fstat(file.fileno()).st_size
    if size != source.bytes:
        file.close()
        raise SourceError(
            f"source {source.uri} has changed since it was ingested", code="source-changed", hint="restore it"
        )
    return file


def _open_remote(uri: str, *, missing: Callable[[], Exception]) -> BinaryIO:
    from ranking.ingest.sources import open_uri

    try:
        return open_uri(uri)
    except SourceError as error:
        if error.code == "source-missing":
            raise missing() from error
        raise


def _gone(uri: str) -> SourceError:
    return SourceError(f"source {uri} is gone", code="source-gone", hint="put it back where it was")


def _read_files(root: str, places: list[dict[str, Any]]) -> Iterator[tuple[str, Found]]:
    if "://" in root:
        yield from _side_by_side(places, lambda file: _remote_file(root, file))
        return
    folder = Path(root).resolve()
    if not folder.is_dir():
        raise _gone(root)
    for place in places:
        yield place["image_uid"], _local_file(folder, place["file"])


def _local_file(folder: Path, name: str) -> Found:
    """The bytes of a file below a folder; ImageError (returned) where it is not there, outside, or no plain file."""
    try:
        path = (folder / name).resolve()
        if not path.is_relative_to(folder):
            return ImageError(f"image file {name} is outside its source's folder", status=schema.MISSING)
        with open(path, "rb", opener=_open_gently) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                return ImageError(f"image file {name} is no plain file", status=schema.MISSING)
            return _capped(file, status.st_size)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError, RuntimeError):
        return ImageError(f"image file {name} is not there", status=schema.MISSING)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENAMETOOLONG, errno.ENXIO):
            return ImageError(f"image file {name} is not there", status=schema.MISSING)
        # A disk or permission that fails is no property of the image: the work must be done again.
        raise SourceError(f"image file {folder / name} cannot be read ({error.strerror})", hint="check it") from error


def _open_gently(path: str, flags: int) -> int:
    # A pipe must not be waited for, and what is a link now was none when it was resolved.
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOFOLLOW)


def _remote_file(root: str, name: str) -> Found:
    if any(part in ("", ".", "..") for part in name.split("/")):
        return ImageError(f"image file {name} is outside its source's folder", status=schema.MISSING)
    gone = ImageError(f"image file {name} is not there", status=schema.MISSING)
    try:
        with _open_remote(f"{root.rstrip('/')}/{name}", missing=lambda: gone) as file:
            size = file.seek(0, io.SEEK_END)
            file.seek(0)
            return _capped(file, size)
    except ImageError as error:
        return error
    except OSError as error:
        raise SourceError(f"image file {root}/{name} cannot be read ({error})", hint="try again later") from error


def _capped(file: BinaryIO, size: int) -> Found:
    if size > MAX_BYTES:
        return too_large(size)
    data = file.read(MAX_BYTES + 1)
    return too_large(len(data)) if len(data) > MAX_BYTES else data


def _side_by_side(places: list[dict[str, Any]], get: Callable[[str], Found]) -> Iterator[tuple[str, Found]]:
    """`get` of each place's file, several at once, in order."""
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="pairsieve-images") as pool:
        under_way: deque[tuple[str, Future[Found]]] = deque()
        try:
            for place in places:
                under_way.append((place["image_uid"], pool.submit(get, place["file"])))
                if len(under_way) == _AT_ONCE:
                    uid, coming = under_way.popleft()
                    yield uid, coming.result()
            while under_way:
                uid, coming = under_way.popleft()
                yield uid, coming.result()
        finally:
            for _, coming in under_way:
                coming.cancel()
