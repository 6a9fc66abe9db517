"""The store's one primitive, `put_if_absent`, and plain reads. Knows bytes and keys, not what they mean."""

import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from ranking.errors import NotFoundError, StoreError
from ranking.names import sha256_file
from ranking.store.backend import Blobs, Entry, UnreachableError, is_scratch
from ranking.store.bucket import is_bucket
from ranking.store.folder import FolderBlobs

HINTS = "hints/"

T = TypeVar("T")
R = TypeVar("R")


class Store:
    """Immutable blobs under keys such as `commits/<scorer_id>/<unit>.json`, in a folder or a bucket.

    A key exists completely or not at all, whatever is killed at whatever moment. Only `hints/` may be
    overwritten.
    """

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self.uri = blobs.uri
        self.workspace = blobs.workspace

    @classmethod
    def open(cls, uri: str | Path) -> "Store":
        """The store at `uri` (a folder, made if absent, or s3://bucket/prefix), after it has proved itself:
        the same random key is created twice, the second must lose, and what is kept is the first.

        StoreError if it cannot be used."""
        try:
            store = cls(_blobs_at(str(uri)))
            key = f"selftest/{secrets.token_hex(16)}"
            first, second = store.put_if_absent(key, b"1"), store.put_if_absent(key, b"2")
            proved = (first, second, store.get(key)) == (True, False, b"1")
            flaw = store._blobs.flaw(key) if proved else "lets a second writer win"
            store.delete(key)
        except OSError as error:
            raise _unusable(str(uri), _reason(error)) from error
        except UnreachableError as error:
            raise _unusable(str(uri), error.reason, hint=error.hint) from error
        except StoreError as error:
            if error.code == "unsupported-store":
                raise
            raise _unusable(str(uri), str(error.message)) from error
        if flaw:
            raise StoreError(
                f"store {uri} {flaw}", code="store-unusable", hint="choose another file system or S3 server"
            )
        return store

    def put_if_absent(self, key: str, data: bytes) -> bool:
        """Create `key` with `data`, durably. False if it exists already, whose bytes then stay as they
        are."""
        with clear_errors(key):
            return self._blobs.create(_checked(key), data)

    def put_file(self, key: str, path: Path) -> bool:
        """Move a finished file (made under `tmp()`) to `key`. False if `key` exists; the file is gone either
        way."""
        with clear_errors(key):
            try:
                return self._blobs.create(_checked(key), path)
            finally:
                path.unlink(missing_ok=True)

    def put_hint(self, key: str, data: bytes) -> None:
        """Write or overwrite a hint: something whose loss costs time only. The key begins with hints/."""
        if not key.startswith(HINTS):
            raise StoreError(f"store key {key!r} may not be overwritten", code="bad-key", hint="only hints/ may")
        with clear_errors(key):
            self._blobs.replace(_checked(key), data)

    def get_hint(self, key: str) -> bytes | None:
        """The bytes of a hint, or None."""
        return self._blobs.read(_checked(key))

    def get(self, key: str) -> bytes:
        """The bytes of `key`; NotFoundError if it does not exist."""
        try:
            data = self._blobs.read(_checked(key))
        except OSError as error:
            raise StoreError(f"{key} cannot be read ({_reason(error)})", code="store-unusable") from error
        if data is None:
            raise NotFoundError(f"the store has no {key}")
        return data

    def get_all(self, keys: Iterable[str]) -> list[bytes]:
        """The bytes of many small blobs, in their order, asked for side by side where that is quicker;
        NotFoundError if one does not exist."""
        return self._side_by_side(self.get, list(keys), threads=self._blobs.askers)

    def exists(self, key: str) -> bool:
        """Whether `key` exists."""
        return self.entry(key) is not None

    def entry(self, key: str) -> Entry | None:
        """The size in bytes and the Unix time of the last change of `key`; None if it does not exist."""
        return self._blobs.entry(_checked(key))

    def entries(self, prefix: str) -> list[Entry]:
        """The same with sizes and ages, sorted by key."""
        return sorted(self._blobs.entries(_folder(prefix)), key=lambda entry: entry.key)

    def children(self, folder: str) -> list[str]:
        """The names directly inside a folder, sorted: cheap where what lies below them is much."""
        names = sorted(self._blobs.children(_folder(folder)))
        return names if _folder(folder) else [name for name in names if not is_scratch(name)]

    def local(self, key: str) -> Path:
        """A local file with the bytes of `key`, not hashed; NotFoundError if it does not exist."""
        with clear_errors(key, done="read"):
            path = self._blobs.local(_checked(key))
        if path is None:
            raise NotFoundError(f"the store has no {key}")
        return path

    def local_folder(self, prefix: str) -> Path:
        """A local folder with all files below `prefix`; NotFoundError if there are none."""
        keys = self.list(prefix)
        if not keys:
            raise NotFoundError(f"the store has no {prefix}")
        path = self._side_by_side(self.local, keys, threads=self._blobs.readers)[0]
        return path.parents[keys[0].removeprefix(_folder(prefix) + "/").count("/")]

    def checked_path(self, key: str, sha256: str) -> Path:
        """The local file of `key` after its bytes were hashed; StoreError if they are not the ones recorded.

        A fetched copy that does not fit is dropped and fetched once more: only what the store itself has is
        damage."""
        with clear_errors(key, done="read"):
            path = self._blobs.local(_checked(key))
            if path is not None and sha256_file(path) != sha256:
                path = self._blobs.local(key) if self._blobs.forget(key) else path
                if path is not None and sha256_file(path) != sha256:
                    raise _damage(f"{key} is damaged: its sha256 is not {sha256}")
        if path is None:
            raise _damage(f"{key} is missing from the store")
        return path

    def checked_paths(self, files: Iterable[tuple[str, str]]) -> list[Path]:
        """The local files of many (key, sha256), in their order, fetched and hashed side by side; the first
        StoreError of `checked_path` ends it."""
        return self._side_by_side(lambda file: self.checked_path(*file), list(files), threads=self._blobs.readers)

    def digest(self, key: str) -> str | None:
        """The SHA-256 of the bytes that the store has now (not of a fetched copy); None if it has none."""
        with clear_errors(key, done="read"):
            return self._blobs.digest(_checked(key))

    def digests(self, keys: Iterable[str]) -> list[str | None]:
        """The same of many, in their order."""
        return self._side_by_side(self.digest, list(keys), threads=self._blobs.readers)

    def move(self, key: str, to: str) -> None:
        """Give a blob another name, for collection only: nothing that is cited may move."""
        with clear_errors(key):
            self._blobs.move(_checked(key), _checked(to))

    def delete(self, key: str) -> None:
        """Remove a blob, for collection only."""
        with clear_errors(key):
            self._blobs.delete(_checked(key))

    def tmp(self) -> Path:
        """The local folder for unfinished files: never listed, free to be emptied when idle."""
        return self.workspace / "tmp"

    @contextmanager
    def unfinished(self, what: str) -> Iterator[Path]:
        """A new local folder for unfinished files of `what` ("run 12ab"); it goes at the end, with all that is left in
        it. StoreError where there can be none."""
        with clear_errors(what):
            folder = Path(tempfile.mkdtemp(prefix=f"{what.replace(' ', '-')}-", dir=self.tmp()))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def usable(self) -> str | None:
        """Why the store cannot be read now, or None."""
        return self._blobs.usable()

    def each(self, read: Callable[[T], R], wanted: Iterable[T], *, files: bool = False) -> list[R]:
        """`read` of each, in order: side by side where requests travel or, with `files`, where disks and hashing can
        bear it."""
        return self._side_by_side(read, list(wanted), threads=self._blobs.readers if files else self._blobs.askers)

    def _side_by_side(self, read: Callable[[T], R], wanted: Sequence[T], *, threads: int) -> list[R]:
        if min(threads, len(wanted)) < 2:
            return [read(one) for one in wanted]
        pool = ThreadPoolExecutor(min(threads, len(wanted)), thread_name_prefix="store-read")
        try:
            return list(pool.map(read, wanted))
        finally:
            pool.shutdown(cancel_futures=True)

    def list(self, prefix: str) -> list[str]:
        """The keys inside the folder `prefix` (with or without a final slash; "" for all), sorted; empty if
        there is none."""
        return sorted(self._blobs.keys(_folder(prefix)))


def _blobs_at(uri: str) -> Blobs:
    if is_bucket(uri):
        from ranking.store.objects import ObjectBlobs  # here, so that a folder loads no S3 client

        return ObjectBlobs.at(uri)
    scheme, separator, _ = uri.partition("://")
    if not separator or scheme == "file":
        return FolderBlobs.at(uri)
    raise StoreError(
        f"store {uri!r} is of a kind we do not have",
        code="unsupported-store",
        hint="set PAIRSIEVE_STORE to a folder or to s3://bucket/prefix",
    )


def _checked(key: str) -> str:
    if any(part in ("", ".", "..") for part in key.split("/")) or "\\" in key or "\0" in key:
        raise StoreError(f"store key {key!r} is not allowed", code="bad-key")
    if is_scratch(key.partition("/")[0]):
        raise StoreError(f"store key {key!r} is in a folder for unfinished files", code="bad-key")
    return key


def _folder(prefix: str) -> str:
    return _checked(prefix.rstrip("/")) if prefix.rstrip("/") else ""


def _damage(message: str) -> StoreError:
    return StoreError(message, code="damaged", hint="restore it from a copy of the store")


def _unusable(uri: str, reason: str, *, hint: str = "") -> StoreError:
    return StoreError(
        f"store {uri} cannot be used ({reason})",
        code="store-unusable",
        hint=hint or "set PAIRSIEVE_STORE to a writable folder on a disk with hard links, or to s3://bucket/prefix",
    )


@contextmanager
def clear_errors(what: str, *, done: str = "written") -> Iterator[None]:
    """StoreError for whatever the system refuses inside: something about this machine now, not about `what`."""
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"{what} cannot be {done} ({_reason(error)})",
            code="store-unusable",
            hint="check the space and permissions of the disk",
        ) from error


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else str(error)) or type(error).__name__
