"""What a place for blobs must be able to do, so that the store above it need not know whether it is a folder or
a bucket."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ranking.errors import StoreError

SCRATCH = ("tmp", "cache", "broker")
"""Folders of the workspace that hold no keys: unfinished files, fetched copies, messages."""


@dataclass(frozen=True)
class Entry:
    """A key with its size in bytes and the Unix time of its last change."""

    key: str
    bytes: int
    modified: float


class UnreachableError(StoreError):
    """The place did not do what was asked. `reason` says why, without naming the blob."""

    default_code = "store-unusable"

    def __init__(self, what: str, reason: str, *, hint: str) -> None:
        super().__init__(f"{what} cannot be reached ({reason})", hint=hint)
        self.reason = reason


class Blobs(Protocol):
    """Bytes under keys. Keys come checked: relative, with / between their parts, never climbing."""

    uri: str
    workspace: Path
    """A local folder for unfinished files, fetched copies and, without Redis, messages."""
    readers: int
    """How many files are worth fetching and hashing at once."""
    askers: int
    """How many small requests are worth making at once: 1 where none has to travel."""

    def flaw(self, key: str) -> str | None:
        """What else is missing here that a store needs, asked when `key` has just been created; None if nothing."""

    def create(self, key: str, data: bytes | Path) -> bool:
        """Create `key` durably from bytes or a local file, which is gone afterwards; False if it existed."""

    def replace(self, key: str, data: bytes) -> None:
        """Write `key`, whatever it held before."""

    def read(self, key: str) -> bytes | None:
        """The bytes of `key`, or None."""

    def entry(self, key: str) -> Entry | None:
        """Size and age of `key`, or None."""

    def keys(self, prefix: str) -> Iterator[str]:
        """The keys below the folder `prefix` ("" for all), in no order."""

    def entries(self, prefix: str) -> Iterator[Entry]:
        """The same with sizes and ages."""

    def children(self, folder: str) -> list[str]:
        """The names directly in a folder, of keys and of folders, in no order."""

    def local(self, key: str) -> Path | None:
        """A local file with the bytes of `key`, fetched where need be; None if there is no such key."""

    def forget(self, key: str) -> bool:
        """Drop the fetched copy of `key`; False where there is none, because the local file is the blob."""

    def digest(self, key: str) -> str | None:
        """The SHA-256 of the bytes that are there now, never of a fetched copy; None if there are none."""

    def move(self, key: str, to: str) -> None:
        """Give a blob another name and the age of a new one, over what has that name; nothing happens if it is
        gone."""

    def delete(self, key: str) -> None:
        """Remove `key` if it exists."""

    def usable(self) -> str | None:
        """Why the place cannot be read now, or None."""

    def free(self) -> int | None:
        """Bytes that may still be written; None where nobody knows."""


def is_scratch(name: str) -> bool:
    """Whether a top-level folder holds no keys."""
    return name in SCRATCH
