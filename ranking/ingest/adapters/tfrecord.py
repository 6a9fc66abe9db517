"""TFRecord files of tf.train.Example, as far as single values go; no TensorFlow. Knows no dataset.

The framing (length, its masked CRC-32C, data, their masked CRC-32C) and the Example messages are those that TensorFlow
documents; the messages are in the wire format of Protocol Buffers.
"""

import struct
from collections.abc import Collection, Generator, Iterator
from typing import Final

import google_crc32c

from ranking.errors import SourceError
from ranking.ingest.sources import SourceFile

MAX_RECORD: Final = 16_000_000  # bytes; the records we read hold two small pictures
HEADER: Final = 12
_VARINT, _EIGHT, _BYTES, _FOUR = 0, 1, 2, 5
_BYTES_LIST, _FLOAT_LIST, _INT64_LIST = 1, 2, 3

Value = bytes | float


def records(file: SourceFile) -> Generator[bytes, None, None]:
    """The file's records, checksums verified. SourceError, with the number of the record, where one is damaged, cut
    off or larger than 16 MB."""
    number = 0
    try:
        with file.open() as handle:
            while header := handle.read(HEADER):
                size = record_size(header)
                rest = handle.read(size + 4)
                if len(rest) != size + 4:
                    raise ValueError("the file ends early")
                data = rest[:-4]
                if _masked(data) != int.from_bytes(rest[-4:], "little"):
                    raise ValueError("its checksum is another")
                yield data
                number += 1
    except (ValueError, OSError) as error:
        raise SourceError(
            f"source {file.uri} cannot be read as TFRecord at record {number} ({error})",
            code="source-not-tfrecord",
            hint="check the file",
        ) from error


def record_size(header: bytes) -> int:
    """The bytes of data that follow a record's header. ValueError for a header that is none, or of a record beyond
    16 MB."""
    if len(header) != HEADER:
        raise ValueError("the file ends early")
    if _masked(header[:8]) != int.from_bytes(header[8:], "little"):
        raise ValueError("the checksum of its length is another")
    size = int.from_bytes(header[:8], "little")
    if size > MAX_RECORD:
        raise ValueError(f"it has more than {MAX_RECORD} bytes")
    return size


def first_values(record: bytes, names: Collection[str]) -> dict[str, Value]:
    """Of an Example's features of these names, the first value each; those without a value are left out. ValueError
    for bytes that are no Example."""
    found: dict[str, Value] = {}
    for features in _messages(memoryview(record), 1):
        for entry in _messages(features, 1):
            key = b"".join(bytes(part) for part in _messages(entry, 1)).decode()
            for feature in _messages(entry, 2):
                if key in names and (value := _first(feature)) is not None:
                    found[key] = value
    return found


def _first(feature: memoryview) -> Value | None:
    for kind, payload in _fields(feature):
        for number, value in _fields(payload) if isinstance(payload, memoryview) else ():
            if number != 1:
                continue
            if kind == _BYTES_LIST and isinstance(value, memoryview):
                return bytes(value)
            # Numbers come one by one or packed; in both cases the first is all we want.
            if kind == _FLOAT_LIST and isinstance(value, memoryview) and len(value) >= 4:
                return float(struct.unpack_from("<f", value)[0])
            if kind == _INT64_LIST and (isinstance(value, int) or len(value)):
                integer = value if isinstance(value, int) else _varint(value, 0)[0]
                return float(integer - (1 << 64) if integer >> 63 else integer)
    return None


def _messages(data: memoryview, wanted: int) -> Iterator[memoryview]:
    for number, value in _fields(data):
        if number == wanted:
            if not isinstance(value, memoryview):
                raise ValueError(f"field {number} is not a message")
            yield value


def _fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """The fields of a message: whole numbers, and all others as their bytes."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            value, at = _varint(data, at)
            yield number, value
            continue
        if wire == _BYTES:
            size, at = _varint(data, at)
        elif wire in (_FOUR, _EIGHT):
            size = 4 if wire == _FOUR else 8
        else:
            raise ValueError(f"there is no wire type {wire}")
        if size > len(data) - at:
            raise ValueError("a field ends beyond its message")
        yield number, data[at : at + size]
        at += size


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """A whole number below 2⁶⁴ and where it ends."""
    value = 0
    for place, byte in enumerate(data[at : at + 10]):
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return value & ((1 << 64) - 1), at + place + 1
    raise ValueError("a number has no end")


def _masked(data: bytes) -> int:
    crc: int = google_crc32c.value(data)
    rotated = (crc >> 15) | (crc << 17)
    return (rotated + 0xA282EAD8) & 0xFFFFFFFF
