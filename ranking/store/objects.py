"""A store's blobs as the objects of an S3 bucket below a prefix. Creation is a conditional PUT; the rest are plain
reads, with copies of what was fetched in a local folder."""

import hashlib
import mmap
import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from ranking.errors import StoreError
from ranking.names import sha256_hex
from ranking.settings import load_settings
from ranking.store.backend import Entry, UnreachableError, is_scratch
from ranking.store.bucket import Bucket, find_bucket
from ranking.store.copies import Copies
from ranking.store.s3_errors import trouble

WRITER, SHA256 = "pairsieve-writer", "pairsieve-sha256"
"""Metadata of every object: who wrote it, to know one's own write again; and what its bytes hash to."""

LARGEST = 5 * 1024**3
"""Most bytes of one object: what S3 takes in one PUT. A write in parts cannot be made conditional here."""

PATIENCE = 20.0
"""Seconds for which a request that may yet work is repeated; fewer until the server has answered once."""

_FIRST_PATIENCE = 2.0
_YOUNG = 60.0  # seconds: an object of less age need not be made young again
_SLOWEST = 1_000_000  # bytes a second: below that a transfer is given up
_UNKEPT = ("hints/", "keys/")  # the first change; the second are secrets
_STREAM = 8 * 1024**2

T = TypeVar("T")


@dataclass(frozen=True)
class _Found:
    """What HEAD says of an object."""

    bytes: int
    modified: float
    writer: str | None


class ObjectBlobs:
    """The objects below a bucket's prefix. Safe to use from many threads; after a fork, only by the parent."""

    readers = 8
    askers = 32

    def __init__(self, bucket: Bucket, *, cache_bytes: int) -> None:
        self.uri = bucket.uri
        self.workspace = bucket.workspace
        self._bucket = bucket
        self._quick = _client(bucket, timeout=30.0)
        self._patient = _client(bucket, timeout=None)
        self._copies = Copies(self.workspace / "cache", cache_bytes)
        self._answered = False

    @classmethod
    def at(cls, uri: str) -> "ObjectBlobs":
        """The blobs at s3://bucket/prefix, with keys and endpoint from the AWS_ variables or the machine's role."""
        blobs = cls(find_bucket(uri), cache_bytes=int(load_settings().cache_gb * 1e9))
        for folder in (blobs.workspace, blobs.workspace / "tmp", blobs.workspace / "cache"):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return blobs

    def flaw(self, key: str) -> str | None:
        """Why this server cannot hold a store, though it let one writer win: asked once `key` exists."""
        found = self._head(key)
        if found is None or found.writer is None:
            return "does not keep the metadata of objects, so a lost answer could not be told from a lost race"
        if key not in set(self.keys(key.rpartition("/")[0])):
            return "does not list what was just written"
        return None

    def create(self, key: str, data: bytes | Path) -> bool:
        """Create `key` from bytes or a local file, which is gone afterwards; False if it existed.

        An object appears whole or not at all, with the SHA-256 the request carries. One that was there first is
        made young again, for nothing may collect what is wanted once more.
        """
        if isinstance(data, bytes):
            return self._create(key, data, sha256_hex(data), self._quick)
        size = data.stat().st_size
        if size > LARGEST:
            raise StoreError(
                f"{key} has {size / 1e9:.1f} GB, and a bucket takes at most {LARGEST / 1e9:.1f} GB at once",
                code="too-large",
                hint="write it as several files",
            )
        with _mapped(data) as content:
            sha256 = hashlib.sha256(content).hexdigest()
            client = self._quick if size < _SLOWEST else _client(self._bucket, timeout=30 + size / _SLOWEST)
            won = self._create(key, content, sha256, client)
        if won and not key.startswith(_UNKEPT):
            with suppress(OSError):  # the key is there: what happens to the copy changes nothing
                self._copies.keep(key, data)  # what was just written need not be fetched
        data.unlink(missing_ok=True)
        return won

    def replace(self, key: str, data: bytes) -> None:
        """Write `key`, whatever it held before."""
        attributes = {WRITER: secrets.token_hex(16), SHA256: sha256_hex(data)}
        self._steadily(key, lambda: _put(self._quick, key, data, attributes, mode="overwrite"))

    def read(self, key: str) -> bytes | None:
        """The bytes of `key`, or None."""

        def fetch() -> bytes:
            found = obstore.get(self._quick, key)
            data = bytes(found.bytes())
            if found.attributes.get(SHA256, sha256_hex(data)) != sha256_hex(data):
                raise _Torn
            return data

        return self._steadily(key, fetch)

    def entry(self, key: str) -> Entry | None:
        """Size and age of `key`, or None."""
        found = self._head(key)
        return Entry(key, found.bytes, found.modified) if found else None

    def keys(self, prefix: str) -> Iterator[str]:
        """The keys below a folder, in no order."""
        for entry in self.entries(prefix):
            yield entry.key

    def entries(self, prefix: str) -> Iterator[Entry]:
        """Size and age of every key below a folder, in no order."""

        def pages() -> dict[str, Entry]:
            # All pages before the first is used: a listing that breaks off is repeated, never taken for all.
            listing = obstore.list(self._quick, prefix or None, chunk_size=1000)
            return {
                meta["path"]: Entry(meta["path"], meta["size"], meta["last_modified"].timestamp())
                for page in listing
                for meta in page
            }

        for key, entry in (self._steadily(f"the list of {prefix or self.uri}", pages) or {}).items():
            if prefix or not is_scratch(key.partition("/")[0]):
                yield entry

    def children(self, folder: str) -> list[str]:
        """The names directly in a folder."""
        return self._children(folder)

    def _children(self, folder: str, *, patience: float | None = None) -> list[str]:
        def listing() -> list[str]:
            found = obstore.list_with_delimiter(self._quick, folder or None)
            return [*found["common_prefixes"], *(meta["path"] for meta in found["objects"])]

        names = self._steadily(f"the list of {folder or self.uri}", listing, patience=patience) or []
        return list(dict.fromkeys(name.rpartition("/")[2] for name in names))

    def local(self, key: str) -> Path | None:
        """A local copy of the bytes of `key`, fetched unless there is one; None if there is no such key."""
        kept = not key.startswith(_UNKEPT)
        path = self._copies.find(key) if kept else None
        if path is not None:
            return path
        unfinished = self.workspace / "tmp" / secrets.token_hex(16)
        try:
            if self._steadily(key, lambda: self._fetch(key, unfinished)) is None:
                return None
            return self._copies.keep(key, unfinished)
        finally:
            unfinished.unlink(missing_ok=True)

    def forget(self, key: str) -> bool:
        """Drop the fetched copy of `key`; whether there was one."""
        return self._copies.drop(key)

    def digest(self, key: str) -> str | None:
        """The SHA-256 of the object's bytes as they are now; None if there is no such object."""

        def stream() -> str:
            digest, size = hashlib.sha256(), 0
            found = obstore.get(self._patient, key)
            for chunk in found.stream(min_chunk_size=_STREAM):
                digest.update(chunk)
                size += len(chunk)
            if size != found.meta["size"]:
                raise _Torn
            return digest.hexdigest()

        return self._steadily(key, stream)

    def move(self, key: str, to: str) -> None:
        """Give a blob another name, by a copy and a deletion; nothing happens if it is gone."""
        if self._copy(key, to):
            self.delete(key)

    def delete(self, key: str) -> None:
        """Remove `key` if it exists, and the copy of it here."""
        self._steadily(key, lambda: obstore.delete(self._quick, key))
        self._copies.drop(key)

    def usable(self) -> str | None:
        """Why the bucket cannot be read now, or None."""
        try:
            self._children("selftest", patience=0)  # who asks this will ask again
        except StoreError as error:
            return error.message
        return None

    def free(self) -> int | None:
        """Nobody knows how much a bucket may still hold."""
        return None

    def _create(self, key: str, data: bytes | mmap.mmap, sha256: str, client: S3Store) -> bool:
        # The server's answer alone cannot be trusted: it may be lost after the write, and a request that was
        # repeated (by obstore, a proxy) may meet its own object. So whoever does not hear "created" looks whose
        # object it is. The mark is the same for all our tries, as any of them may arrive late.
        attributes = {WRITER: secrets.token_hex(16), SHA256: sha256}

        def put() -> bool:
            try:
                _put(client, key, data, attributes, mode="create")
                return True
            except (BaseError, OSError) as error:
                why = trouble(error, self._bucket)
                if not why.passing or why.unsent:
                    raise
                found = self._head(key)
                if found is None:
                    raise  # and try again
                if found.writer == attributes[WRITER]:
                    return True
                if time.time() - found.modified > _YOUNG and not self._make_young(key):
                    raise  # collected just now: then it is ours to create
                return False

        won = self._steadily(key, put)
        if won is None:
            hint = "check PAIRSIEVE_STORE and AWS_ENDPOINT_URL"
            raise UnreachableError(key, f"the server {self._bucket.server} finds no bucket to write to", hint=hint)
        return won

    def _make_young(self, key: str) -> bool:
        # S3 does not copy an object onto itself as it is, and a PUT of our own bytes could be of other bytes, with
        # another writer's mark. Two copies within the server keep both.
        through = f"tmp/{secrets.token_hex(16)}"
        try:
            return self._copy(key, through) and self._copy(through, key)
        finally:
            self._steadily(through, lambda: obstore.delete(self._quick, through))

    def _copy(self, key: str, to: str) -> bool:
        def copy() -> bool:
            obstore.copy(self._patient, key, to)
            return True

        return self._steadily(key, copy) is not None

    def _head(self, key: str) -> _Found | None:
        def head() -> _Found:
            found = obstore.get(self._quick, key, options={"head": True})
            meta = found.meta
            return _Found(meta["size"], meta["last_modified"].timestamp(), found.attributes.get(WRITER))

        return self._steadily(key, head)

    def _fetch(self, key: str, to: Path) -> bool:
        found, digest, size = obstore.get(self._patient, key), hashlib.sha256(), 0
        to.parent.mkdir(parents=True, exist_ok=True)  # who empties the cache may remove it, too
        with to.open("wb") as file:
            for chunk in found.stream(min_chunk_size=_STREAM):
                file.write(chunk)
                digest.update(chunk)
                size += len(chunk)
            file.flush()
            os.fsync(file.fileno())
        if size != found.meta["size"] or found.attributes.get(SHA256, digest.hexdigest()) != digest.hexdigest():
            raise _Torn
        return True

    def _steadily(self, what: str, request: Callable[[], T], *, patience: float | None = None) -> T | None:
        """The result of a request, which is repeated while it may yet work; None if there is no such object."""
        if patience is None:
            patience = PATIENCE if self._answered else _FIRST_PATIENCE
        end, pause = float("inf"), 0.05
        while True:
            try:
                result = request()
                self._answered = True
                return result
            except _Torn as error:
                end = min(end, time.monotonic() + _FIRST_PATIENCE)
                if time.monotonic() > end:
                    raise StoreError(
                        f"{what} is damaged: its bytes do not have the sha256 that they were written with",
                        code="damaged",
                        hint="restore it from a copy of the store",
                    ) from error
            except ValueError as error:
                raise StoreError(f"store key {what!r} is not one a bucket can have", code="bad-key") from error
            except (BaseError, FileNotFoundError) as error:
                why = trouble(error, self._bucket)
                if isinstance(error, FileNotFoundError) and not why.missing_bucket:
                    self._answered = True
                    return None
                # From the first failure on, so that what breaks after an hour is tried again, too.
                end = min(end, time.monotonic() + patience)
                if not why.passing or time.monotonic() >= end:
                    # Not "from error": its text is the server's, and a log would show it.
                    raise UnreachableError(what, why.reason, hint=why.hint) from None
            # Jitter, or those who met would meet again.
            time.sleep(pause * (0.5 + secrets.randbelow(1000) / 1000))
            pause = min(pause * 2, 2.0)


class _Torn(Exception):
    """Other bytes came than were written."""


def _client(bucket: Bucket, *, timeout: float | None) -> S3Store:
    options: dict[str, Any] = {"connect_timeout": timedelta(seconds=3), "allow_http": bucket.plain_http}
    if timeout is None:  # as long as something comes, it may last
        options |= {"timeout": timedelta(days=1), "read_timeout": timedelta(seconds=60)}
    else:
        options["timeout"] = timedelta(seconds=timeout)
    config: dict[str, Any] = {"disable_bulk_delete": True}  # not every S3 has it, and we delete one by one
    if bucket.endpoint:
        config["endpoint"] = bucket.endpoint
    if not os.environ.get("AWS_CHECKSUM_ALGORITHM"):
        config["checksum_algorithm"] = "SHA256"
    return S3Store(
        bucket.name,
        prefix=bucket.prefix or None,
        config=config,  # type: ignore[arg-type]
        client_options=options,  # type: ignore[arg-type]
        # Few: a page of a listing, a part of a body. What is worth more is repeated by `_steadily`.
        retry_config={
            "max_retries": 3,
            "retry_timeout": timedelta(seconds=6 if timeout else 600),
            "backoff": {"init_backoff": timedelta(milliseconds=50), "max_backoff": timedelta(seconds=1), "base": 2},
        },
    )


def _put(client: S3Store, key: str, data: bytes | mmap.mmap, attributes: dict[str, str], *, mode: Any) -> None:
    obstore.put(client, key, memoryview(data), mode=mode, use_multipart=False, attributes=attributes)


@contextmanager
def _mapped(path: Path) -> Iterator[bytes | mmap.mmap]:
    """A file's bytes, read as they are sent."""
    with path.open("rb") as file:
        if not os.fstat(file.fileno()).st_size:
            yield b""
            return
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        try:
            yield content
        finally:
            with suppress(BufferError):  # a request that was given up may still hold it; then it goes with that
                content.close()
