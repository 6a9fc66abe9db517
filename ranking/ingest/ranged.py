"""A remote file that is read by byte ranges, as if it lay here. Knows nothing of buckets or hubs."""

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, BinaryIO, cast

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

Fetch = Callable[[int, int], bytes]
"""fetch(start, end) gives the bytes from `start` up to, not including, `end`; OSError where it cannot."""

READ_AHEAD = 64 * 1024  # small beside a picture: what is skipped over must not be fetched
"""Bytes that are fetched at least."""


class _Ranged(io.RawIOBase):
    def __init__(self, uri: str, size: int, fetch: Fetch) -> None:
        self._uri = uri
        self._size = size
        self._fetch = fetch
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        if start + offset < 0:
            raise OSError(f"cannot seek to {start + offset} in {self._uri}")
        self._at = start + offset
        return self._at

    def readall(self) -> bytes:
        # The default would ask for eight kilobytes at a time.
        rest = bytearray(max(self._size - self._at, 0))
        self.readinto(rest)
        return bytes(rest)

    def readinto(self, buffer: "WriteableBuffer") -> int:
        view = memoryview(buffer).cast("B")
        wanted = min(len(view), max(self._size - self._at, 0))
        if not wanted:
            return 0
        data = self._fetch(self._at, self._at + wanted)
        if len(data) != wanted:
            raise OSError(f"{self._uri} gave {len(data)} bytes where {wanted} were asked for")
        view[:wanted] = data
        self._at += wanted
        return wanted


def ranged(uri: str, size: int, fetch: Fetch) -> BinaryIO:
    """The file of `size` bytes whose ranges `fetch` gets, for reading anywhere in it."""
    return cast(BinaryIO, io.BufferedReader(_Ranged(uri, size, fetch), READ_AHEAD))
