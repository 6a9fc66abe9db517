"""Writes TFRecord files of examples, for tests of what reads them. Small and slow."""

import struct
from collections.abc import Iterable, Mapping
from pathlib import Path

import google_crc32c

Payload = bytes
"""A Feature message that is ready to be written."""


class feature(bytes):
    """A Feature of one kind of list: 1 bytes, 2 floats, 3 integers; `content` is the list's message."""

    def __new__(cls, kind: int, content: bytes) -> "feature":
        return super().__new__(cls, field(kind, content))


def example(features: Mapping[str, bytes | float | int]) -> bytes:
    """An Example with one value a feature, or with features as given."""
    entries = (field(1, field(1, name.encode()) + field(2, _feature(value))) for name, value in features.items())
    return field(1, b"".join(entries))


def _feature(value: bytes | float | int) -> bytes:
    if isinstance(value, feature):
        return value
    if isinstance(value, bytes):
        return feature(1, field(1, value))
    if isinstance(value, float):
        return feature(2, field(1, struct.pack("<f", value)))
    return feature(3, field(1, varint(value % (1 << 64))))


def field(number: int, content: bytes, *, wire: int = 2) -> bytes:
    return varint(number << 3 | wire) + (varint(len(content)) if wire == 2 else b"") + content


def varint(value: int) -> bytes:
    low, rest = value & 0x7F, value >> 7
    return bytes([low | 0x80]) + varint(rest) if rest else bytes([low])


def masked(data: bytes) -> int:
    crc = google_crc32c.value(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) % (1 << 32)


def frame(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    return length + struct.pack("<I", masked(length)) + data + struct.pack("<I", masked(data))


def write_tfrecord(path: Path, messages: Iterable[bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(frame(message) for message in messages))
    return path
