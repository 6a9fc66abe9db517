"""Single cells of a Parquet column chunk, found page by page: what lies before them is skipped, not decompressed, and
no size in the file is believed without a bound. Byte columns without repetition only; knows nothing of images.

The layout is that of the Parquet format: page headers in Thrift's compact protocol, levels and dictionary indices in
the RLE/bit-packing hybrid, values PLAIN or by dictionary.
"""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ranking.images.cells.footer import Chunk
from ranking.images.cells.thrift import Reader, ThriftError
from ranking.images.cells.views import CODECS, PageError, ReadAt, View, open_view

_HEADER, _LARGEST_HEADER = 4096, 1 << 20  # bytes; a header may hold statistics, which may hold values
_FREE, _RATIO, _LARGEST_PAGE = 64 << 20, 16, 1 << 30
"""A page may decompress to 64 MB, and beyond that to 16 times its size and 1 GB: pictures hardly compress, bombs do."""

_LOADED = 4 << 20  # bytes; smaller pages are read at once
_MOST_VALUES = 1 << 22  # in one page; a few bytes can claim thousands of millions of nulls

_DATA, _DICTIONARY, _DATA_V2 = 0, 2, 3
_PLAIN, _RLE, _BY_DICTIONARY = 0, 3, (2, 8)


class UnknownEncodingError(Exception):
    """The chunk is in order for all we know, but laid out in a way that we do not read."""


@dataclass(frozen=True)
class _Page:
    kind: int
    values: int
    encoding: int
    packed: int
    unpacked: int
    odd: str  # what we do not read about it
    levels_bytes: int  # of a version 2 page, where levels lie before the values, never compressed
    compressed: bool
    crc: int | None
    at: int


def read_cells(
    read_at: ReadAt, chunk: Chunk, rows: Sequence[int], *, levels: int, remote: bool, most: int
) -> Iterator[tuple[int, bytes | int | None]]:
    """The cells at `rows` (ascending, counted within the chunk): bytes, None for null, or the size alone of a cell
    with more than `most` bytes, which is not copied. `levels` is the definition level of a cell that is not null;
    `remote` says that each read is a request to another machine.

    Of large pages only what is needed is read and decompressed; their checksums are then not looked at. Raises
    PageError, UnknownEncodingError, OSError.
    """
    if chunk.codec not in CODECS:
        raise UnknownEncodingError(f"compression {chunk.codec}")
    waiting = list(reversed(rows))
    dictionary: _Page | None = None
    words: _Values | None = None
    first = 0
    for page in _pages(read_at, chunk):
        if not waiting:
            return
        if page.odd:
            raise UnknownEncodingError(page.odd)
        if page.kind == _DICTIONARY:
            dictionary = page
        if page.kind not in (_DATA, _DATA_V2):
            continue
        wanted = []
        while waiting and waiting[-1] < first + page.values:
            wanted.append(waiting.pop() - first)
        if wanted:
            if page.encoding in _BY_DICTIONARY and words is None:
                if dictionary is None:
                    raise PageError("a page refers to a dictionary that is not there")
                words = _Values(
                    _open(read_at, dictionary, chunk.codec, remote=remote, forward=False)[1], dictionary.values
                )
            defined, view = _open(read_at, page, chunk.codec, remote=remote, forward=True)
            for row, cell in _cells(defined, view, page, words, wanted, levels=levels, most=most):
                yield first + row, cell
        first += page.values
    if waiting:
        raise PageError(f"the chunk has {first} rows, fewer than it should")


def check_pages(read_at: ReadAt, chunk: Chunk) -> None:
    """Raises PageError if a page of the chunk would decompress to more than it may; for readers other than ours."""
    for _ in _pages(read_at, chunk):
        pass


def _pages(read_at: ReadAt, chunk: Chunk) -> Iterator[_Page]:
    at = chunk.start
    while at < chunk.end:
        header, at = _header(read_at, at, chunk.end)
        page = _page(header, at)
        if not 0 <= page.packed <= chunk.end - at or page.unpacked < 0 or page.values < 0:
            raise PageError("a page reaches beyond its chunk")
        if page.unpacked > min(_LARGEST_PAGE, max(_FREE, _RATIO * page.packed)):
            raise PageError(f"a page of {page.packed} bytes would decompress to {page.unpacked}")
        if page.values > _MOST_VALUES:
            raise PageError(f"a page claims {page.values} values")
        yield page
        at += page.packed


def _header(read_at: ReadAt, at: int, end: int) -> tuple[dict[int, object], int]:
    size = _HEADER
    while True:
        thrift = Reader(read_at(at, min(size, end - at)))
        try:
            return thrift.struct(), at + thrift.at
        except ThriftError as error:
            raise PageError(f"a page header is damaged: {error}") from error
        except IndexError:
            if size >= min(_LARGEST_HEADER, end - at):
                raise PageError("a page header does not end") from None
            size *= 16


def _page(header: dict[int, object], at: int) -> _Page:
    def number(fields: dict[int, object], key: int, default: int | None = None) -> int:
        value = fields.get(key, default)
        if not isinstance(value, int):
            raise PageError("a page header lacks a field")
        return value

    kind = number(header, 1)
    inner = header.get({_DATA: 5, _DICTIONARY: 7, _DATA_V2: 8}.get(kind, 0), {})
    if not isinstance(inner, dict) or (not inner and kind in (_DATA, _DICTIONARY, _DATA_V2)):
        raise PageError("a page header lacks a field")
    second = kind == _DATA_V2
    encoding = number(inner, 4 if second else 2, _PLAIN)
    odd = ""
    if second and number(inner, 6):
        odd = "repeated values"
    elif kind == _DATA and number(inner, 3) != _RLE:
        odd = f"levels in encoding {inner.get(3)}"
    elif encoding not in (_PLAIN, *_BY_DICTIONARY):
        odd = f"encoding {encoding}"
    return _Page(
        kind=kind,
        values=number(inner, 1, 0),
        encoding=encoding,
        packed=number(header, 3),
        unpacked=number(header, 2),
        levels_bytes=number(inner, 5) + number(inner, 6) if second else 0,
        odd=odd,
        compressed=bool(inner.get(7, True)) if second else True,
        crc=number(header, 4) if 4 in header else None,
        at=at,
    )


def _open(read_at: ReadAt, page: _Page, codec: str, *, remote: bool, forward: bool) -> tuple[bytes, View]:
    # The levels of a version 2 page, and a view of all that follows.
    kept = page.levels_bytes
    if not 0 <= kept <= min(page.packed, page.unpacked):
        raise PageError("the levels of a page reach beyond it")
    if remote or page.packed <= _LOADED:
        loaded = read_at(page.at, page.packed)
        if page.crc is not None and zlib.crc32(loaded) != page.crc & 0xFFFFFFFF:
            raise PageError("a page does not have its checksum")
        levels = loaded[:kept]

        def rest(offset: int, size: int) -> bytes:
            return loaded[kept + offset : kept + offset + size]
    else:
        levels = read_at(page.at, kept)

        def rest(offset: int, size: int) -> bytes:
            return read_at(page.at + kept + offset, size)

    codec = codec if page.compressed else "UNCOMPRESSED"
    return levels, open_view(rest, codec, packed=page.packed - kept, size=page.unpacked - kept, forward=forward)


def _cells(
    defined: bytes,
    view: View,
    page: _Page,
    words: "_Values | None",
    rows: Sequence[int],
    *,
    levels: int,
    most: int,
) -> Iterator[tuple[int, bytes | int | None]]:
    present = np.ones(page.values, np.bool_)
    start = 0
    if levels:
        if page.kind == _DATA:
            start = 4 + int.from_bytes(view.read(0, 4), "little")
            defined = view.read(4, start)
        present = _hybrid(defined, levels.bit_length(), page.values) == levels
    place = np.cumsum(present) - 1  # of each row that is not null, among the values
    if page.encoding == _PLAIN:
        values, of = _Values(view, page.values, start), place
    else:
        if words is None:
            raise PageError("a page refers to a dictionary that is not there")
        values, of = words, np.zeros(page.values, np.int64)
        if present.any():
            packed = view.read(start, view.size)
            indices = _hybrid(packed[1:], packed[0] if packed else 0, int(present.sum()))
            of = indices[np.maximum(place, 0)]
    for row in rows:
        yield row, values.get(int(of[row]), most) if present[row] else None


class _Values:
    """Length-prefixed values one behind the other; their places are found as far as they are needed."""

    def __init__(self, view: View, count: int, start: int = 0) -> None:
        self._view = view
        self._count = count
        self._starts = [start]

    def get(self, index: int, most: int) -> bytes | int:
        """Value number `index`, or its size if that is above `most`."""
        if not 0 <= index < self._count:
            raise PageError("a page refers to a value that is not there")
        while len(self._starts) <= index + 1:
            start = self._starts[-1]
            self._starts.append(start + 4 + int.from_bytes(self._view.read(start, start + 4), "little"))
        start, end = self._starts[index] + 4, self._starts[index + 1]
        return end - start if end - start > most else self._view.read(start, end)


def _hybrid(data: bytes, width: int, count: int) -> npt.NDArray[np.int64]:
    """`count` numbers of `width` bits from runs and bit-packed groups of eight."""
    if width > 32:
        raise PageError("a page has numbers that are too wide")
    found = np.zeros(count, np.int64)
    done, at, size = 0, 0, (width + 7) // 8
    weights = 1 << np.arange(width, dtype=np.int64)
    while done < count:
        thrift = Reader(data[at : at + 10])
        try:
            header = thrift.unsigned()
        except (IndexError, ThriftError):
            raise PageError("the levels or indices of a page end early") from None
        at += thrift.at
        if header & 1:
            groups = min(header >> 1, (count - done + 7) // 8)
            packed = data[at : at + groups * width]
            if not groups or len(packed) < groups * width:
                raise PageError("the levels or indices of a page end early")
            bits = np.unpackbits(np.frombuffer(packed, np.uint8), bitorder="little")
            values = bits.reshape(-1, width) @ weights if width else np.zeros(groups * 8, np.int64)
            at += (header >> 1) * width
        else:
            if not header or len(data) < at + size:
                raise PageError("the levels or indices of a page end early")
            values = np.full(min(header >> 1, count - done), int.from_bytes(data[at : at + size], "little"), np.int64)
            at += size
        take = min(len(values), count - done)
        found[done : done + take] = values[:take]
        done += take
    return found
