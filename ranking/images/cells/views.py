"""A Parquet page's bytes as if decompressed, of which only what is asked for is read and decompressed: a page may hold
a thousand pictures when one is wanted. Knows nothing of what the bytes mean."""

import io
from collections.abc import Callable
from typing import Protocol

import pyarrow as pa

ReadAt = Callable[[int, int], bytes]
"""read_at(offset, size) gives exactly `size` bytes from `offset`; OSError or PageError where it cannot."""

CODECS = ("UNCOMPRESSED", "SNAPPY", "ZSTD")
_SMALL = 4 << 20  # bytes; up to here a page is read and decompressed whole
_FRAGMENT = 1 << 16  # Snappy's encoders cut their input into pieces of this size and look back in none but the last
_MOST_ELEMENTS = 400_000  # of a Snappy page; one that compressed well has more, and is decompressed whole
_LOOK = 512
_SKIP = 1 << 20


class PageError(Exception):
    """The chunk is not what its headers say."""


class View(Protocol):
    """Some bytes; `size` is how many."""

    size: int

    def read(self, start: int, end: int) -> bytes:
        """The bytes from `start` to `end`; PageError beyond the end."""


def open_view(read_at: ReadAt, codec: str, *, packed: int, size: int, forward: bool) -> View:
    """The `size` bytes that `packed` bytes (from offset 0 of `read_at`) decompress to by one of CODECS. With
    `forward` the reads will be in ascending order, which is all that some codecs can do without the whole."""
    if codec == "UNCOMPRESSED":
        if packed != size:
            raise PageError("an uncompressed page has another size than it names")
        return _Raw(read_at, size)
    if codec == "SNAPPY":
        stream = _Snappy(read_at, packed, size)
        return stream if size > _SMALL else whole(read_at, codec, packed=packed, size=size)
    if size > _SMALL and forward:
        return _Forward(read_at, codec, packed, size)
    return whole(read_at, codec, packed=packed, size=size)


def whole(read_at: ReadAt, codec: str, *, packed: int, size: int) -> View:
    """The same, read and decompressed at once."""
    try:
        data = pa.Codec(codec.lower()).decompress(read_at(0, packed), size) if size else b""
    except (pa.ArrowException, ValueError) as error:
        raise PageError(f"a page does not decompress ({error})") from error
    except OSError as error:
        raise PageError(f"a page cannot be read or does not decompress ({error})") from error
    view = memoryview(data)
    return _Raw(lambda offset, count: bytes(view[offset : offset + count]), size)


class _Raw:
    def __init__(self, read_at: ReadAt, size: int) -> None:
        self._read_at = read_at
        self.size = size

    def read(self, start: int, end: int) -> bytes:
        _check(self, start, end)
        return self._read_at(start, end - start)


class _Snappy:
    """Walks the elements of a Snappy stream, which is a look at the beginning of each: what is incompressible is one
    literal a fragment. Remembers where fragments begin, and decompresses only those that are read."""

    def __init__(self, read_at: ReadAt, packed: int, size: int) -> None:
        self._read_at = read_at
        self._packed = packed
        self.size = size
        self._starts: list[int] = []  # of each fragment known to its end, in the stream
        self._literals: list[int | None] = []  # where its bytes lie, if they lie there as they are
        self._kept: tuple[int, bytes] = (-1, b"")
        self._all: View | None = None
        self._window = (0, b"")
        self._elements = 0
        self._at, named = self._varint(0)
        if named != size:
            raise PageError("a page does not decompress to the size it names")

    def read(self, start: int, end: int) -> bytes:
        _check(self, start, end)
        while self._all is None and len(self._starts) * _FRAGMENT < end:
            self._walk_fragment()
        if self._all is not None:
            return self._all.read(start, end)
        parts = []
        while start < end:
            stop = min(end, (start // _FRAGMENT + 1) * _FRAGMENT)
            parts.append(self._read_fragment(start // _FRAGMENT, start % _FRAGMENT, stop - start))
            start = stop
        return b"".join(parts)

    def _read_fragment(self, number: int, offset: int, count: int) -> bytes:
        if self._all is not None:
            return self._all.read(number * _FRAGMENT + offset, number * _FRAGMENT + offset + count)
        literal = self._literals[number]
        if literal is not None:
            return self._read_at(literal + offset, count)
        if self._kept[0] != number:
            start = self._starts[number]
            end = self._starts[number + 1] if number + 1 < len(self._starts) else self._at
            size = min(_FRAGMENT, self.size - number * _FRAGMENT)
            stream = _varint_bytes(size) + self._read_at(start, end - start)
            try:
                self._kept = (number, pa.Codec("snappy").decompress(stream, size).to_pybytes())
            except (pa.ArrowException, OSError):  # an encoder that looks back further, or damage: the whole tells
                self._give_up()
                return self._read_fragment(number, offset, count)
        return self._kept[1][offset : offset + count]

    def _walk_fragment(self) -> None:
        begin, done = self._at, 0
        size = min(_FRAGMENT, self.size - len(self._starts) * _FRAGMENT)
        literal: int | None = None
        while done < size:
            self._elements += 1
            if self._elements > _MOST_ELEMENTS:
                return self._give_up()
            look = self._look(self._at)
            kind, upper = look[0] & 3, look[0] >> 2
            if kind == 0:
                extra = max(0, upper - 59)
                length = (int.from_bytes(look[1 : 1 + extra], "little") if extra else upper) + 1
                literal = self._at + 1 + extra if length == size else None
                self._at += 1 + extra + length
            else:
                length = 4 + (upper & 7) if kind == 1 else upper + 1
                self._at += (0, 2, 3, 5)[kind]
            done += length
            if self._at > self._packed:
                raise PageError("a page ends early")
        if done > size:  # an encoder that cuts elsewhere
            return self._give_up()
        self._starts.append(begin)
        self._literals.append(literal)
        return None

    def _give_up(self) -> None:
        self._all = whole(self._read_at, "SNAPPY", packed=self._packed, size=self.size)

    def _look(self, at: int) -> bytes:
        """Some bytes from `at`, at least an element's beginning where there is one."""
        start, data = self._window
        if not start <= at <= start + len(data) - 8:
            if at >= self._packed:
                raise PageError("a page ends early")
            start, data = at, self._read_at(at, min(_LOOK, self._packed - at))
            self._window = (start, data)
        return data[at - start : at - start + 8]

    def _varint(self, at: int) -> tuple[int, int]:
        value = 0
        for place, byte in enumerate(self._look(at)):
            value |= (byte & 127) << (7 * place)
            if byte < 128:
                return at + place + 1, value
        raise PageError("a page does not begin with its size")


class _Forward:
    """Decompresses as it goes and never back: for codecs that cannot begin in the middle."""

    def __init__(self, read_at: ReadAt, codec: str, packed: int, size: int) -> None:
        self._stream = pa.CompressedInputStream(pa.PythonFile(_Reader(read_at, packed), mode="r"), codec.lower())
        self._at = 0
        self.size = size

    def read(self, start: int, end: int) -> bytes:
        _check(self, start, end)
        if start < self._at:
            raise PageError("a page was to be read backwards")
        try:
            while self._at < start:
                self._at += len(self._some(min(_SKIP, start - self._at)))
            data = b"".join(iter(lambda: self._rest(end), b""))
        except (pa.ArrowException, OSError) as error:
            raise PageError(f"a page does not decompress ({error})") from error
        return data

    def _rest(self, end: int) -> bytes:
        if self._at == end:
            return b""
        data = self._some(end - self._at)
        self._at += len(data)
        return data

    def _some(self, count: int) -> bytes:
        data: bytes = self._stream.read(count)
        if not data:
            raise PageError("a page ends early")
        return data


class _Reader(io.RawIOBase):
    def __init__(self, read_at: ReadAt, size: int) -> None:
        self._read_at = read_at
        self._size = size
        self._at = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        size = min(size if size >= 0 else self._size, self._size - self._at)
        data = self._read_at(self._at, size) if size else b""
        self._at += len(data)
        return data


def _check(view: View, start: int, end: int) -> None:
    if not 0 <= start <= end <= view.size:
        raise PageError("a value reaches beyond its page")


def _varint_bytes(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)
