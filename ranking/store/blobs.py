"""The store's one primitive, `put_if_absent`, and plain reads. Knows bytes and keys, not what they mean."""

import os
import secrets
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ranking.errors import NotFoundError, StoreError
from ranking.names import sha256_file

HINTS = "hints/"


class Store:
    """A folder of immutable blobs under keys such as `commits/<scorer_id>/<unit>.json`.

    A key exists completely or not at all, whatever is killed at whatever moment. Only `hints/` may be
    overwritten.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    def open(cls, uri: str | Path) -> "Store":
        """The store at `uri` (a folder, made if absent), after it has proved itself: the same random key is
        created twice and the second must lose. StoreError if the folder cannot be made, written or
        hard-linked in."""
        text = str(uri)
        if "://" in text and not text.startswith("file://"):
            raise StoreError(f"store {text!r} is not supported yet", hint="set PAIRSIEVE_STORE to a local folder")
        root = Path(text.removeprefix("file://")).expanduser()
        root = Path(os.path.abspath(root))  # noqa: PTH100 - resolve() would follow links out of the user's name for it
        if any(char in str(root) for char in "*?["):
            raise StoreError(f"store {root} has one of * ? [ in its path", hint="choose another folder")
        store = cls(root)
        try:
            store.tmp().mkdir(parents=True, exist_ok=True)
            key = f"selftest/{secrets.token_hex(16)}"
            first, second = store.put_if_absent(key, b"1"), store.put_if_absent(key, b"2")
            kept = store.path(key).read_bytes()
            store.path(key).unlink()
        except (OSError, StoreError) as error:
            raise StoreError(
                f"store {root} cannot be used ({_reason(error)})",
                code="store-unusable",
                hint="set PAIRSIEVE_STORE to a writable folder on a disk with hard links",
            ) from error
        if (first, second, kept) != (True, False, b"1"):
            raise StoreError(
                f"store {root} lets a second writer win",
                code="store-unusable",
                hint="choose another file system",
            )
        return store

    def path(self, key: str) -> Path:
        """The file that `key` names; StoreError for a key that is absolute, empty or climbs."""
        parts = key.split("/")
        if any(part in ("", ".", "..") for part in parts) or "\\" in key or "\0" in key:
            raise StoreError(f"store key {key!r} is not allowed", code="bad-key")
        return self.root.joinpath(*parts)

    def tmp(self) -> Path:
        """The folder for unfinished files: on the store's file system, never listed, free to be emptied when
        idle."""
        return self.root / "tmp"

    def put_if_absent(self, key: str, data: bytes) -> bool:
        """Create `key` with `data`, durably. False if it exists already, whose bytes then stay as they
        are."""
        path = self.path(key)
        with _clear_errors(key):
            unfinished = self._write_tmp(data)
            try:
                return self._link(unfinished, path)
            finally:
                unfinished.unlink(missing_ok=True)

    def put_file(self, key: str, path: Path) -> bool:
        """Move a finished file (made under `tmp()`) to `key`. False if `key` exists; the file is gone either
        way."""
        target = self.path(key)
        with _clear_errors(key):
            try:
                with path.open("rb") as file:
                    os.fsync(file.fileno())
                return self._link(path, target)
            finally:
                path.unlink(missing_ok=True)

    def put_hint(self, key: str, data: bytes) -> None:
        """Write or overwrite a hint: something whose loss costs time only. The key begins with hints/."""
        if not key.startswith(HINTS):
            raise StoreError(f"store key {key!r} may not be overwritten", code="bad-key", hint="only hints/ may")
        path = self.path(key)
        with _clear_errors(key):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._write_tmp(data).replace(path)

    def get_hint(self, key: str) -> bytes | None:
        """The bytes of a hint, or None."""
        try:
            return self.path(key).read_bytes()
        except FileNotFoundError:
            return None

    def get(self, key: str) -> bytes:
        """The bytes of `key`; NotFoundError if it does not exist."""
        try:
            return self.path(key).read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
            raise NotFoundError(f"the store has no {key}") from error
        except OSError as error:
            raise StoreError(f"{key} cannot be read ({_reason(error)})") from error

    def exists(self, key: str) -> bool:
        """Whether `key` exists."""
        return self.path(key).is_file()

    def list(self, prefix: str) -> list[str]:
        """The keys inside the folder `prefix` (with or without a final slash), sorted; empty if there is
        none."""
        folder = self.path(prefix.rstrip("/"))
        keys = [
            (Path(parent) / file).relative_to(self.root).as_posix()
            for parent, _, files in os.walk(folder)
            for file in files
        ]
        return sorted(keys)

    def checked_path(self, key: str, sha256: str) -> Path:
        """The file of `key` after its bytes were hashed; StoreError if they are not the ones recorded."""
        path = self.path(key)
        if not path.is_file():
            raise StoreError(
                f"{key} is missing from the store", code="damaged", hint="restore it from a copy of the store"
            )
        if sha256_file(path) != sha256:
            raise StoreError(
                f"{key} is damaged: its sha256 is not {sha256}",
                code="damaged",
                hint="restore it from a copy of the store",
            )
        return path

    def _write_tmp(self, data: bytes) -> Path:
        path = self.tmp() / uuid.uuid4().hex
        try:
            with path.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            path.unlink(missing_ok=True)
            raise
        return path

    def _link(self, finished: Path, target: Path) -> bool:
        # A link, because it refuses to replace; O_EXCL and write would leave an empty key after a crash.
        self._make_folder(target.parent)
        try:
            os.link(finished, target)
        except FileExistsError:
            return False
        _fsync_folder(target.parent)
        return True

    def _make_folder(self, folder: Path) -> None:
        if folder.is_dir():
            return
        self._make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        _fsync_folder(folder.parent)


def _fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _clear_errors(key: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"{key} cannot be written ({_reason(error)})", hint="check the space and permissions of the disk"
        ) from error


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else str(error)) or type(error).__name__
