"""Blobs in a local folder: created by hard link, so that a name appears with all of its bytes or not at all."""

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from stat import S_ISREG

from ranking.errors import StoreError
from ranking.names import sha256_file
from ranking.store.backend import Entry, is_scratch


class FolderBlobs:
    """The files below one folder. Its own `tmp/` is on the same file system, which a hard link needs."""

    def __init__(self, root: Path) -> None:
        self.uri = str(root)
        self.workspace = root
        self.readers = 2
        self.askers = 1

    @classmethod
    def at(cls, text: str) -> "FolderBlobs":
        """The folder that a path or file:// URL names, made if absent; StoreError for one DuckDB cannot be
        given."""
        root = Path(os.path.abspath(Path(text.removeprefix("file://")).expanduser()))  # noqa: PTH100 - keeps links
        if any(char in str(root) for char in "*?["):
            raise StoreError(f"store {root} has one of * ? [ in its path", hint="choose another folder")
        (root / "tmp").mkdir(parents=True, exist_ok=True)
        return cls(root)

    def flaw(self, key: str) -> str | None:  # noqa: ARG002
        """Nothing: where links hold, the rest does."""
        return None

    def create(self, key: str, data: bytes | Path) -> bool:
        """Create `key` durably from bytes, or by moving a finished file of `tmp/`; False if it exists."""
        target = self._path(key)
        finished = data if isinstance(data, Path) else self._write(data)
        try:
            if isinstance(data, Path):
                with finished.open("rb") as file:
                    os.fsync(file.fileno())
            return self._link(finished, target)
        finally:
            finished.unlink(missing_ok=True)

    def replace(self, key: str, data: bytes) -> None:
        """Write `key`, whatever it held before."""
        target = self._path(key)
        target.parent.mkdir(parents=True, exist_ok=True)
        self._write(data).replace(target)

    def read(self, key: str) -> bytes | None:
        """The bytes of `key`, or None."""
        try:
            return self._path(key).read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None

    def entry(self, key: str) -> Entry | None:
        """Size and age of `key`, or None."""
        try:  # one look, not two: a collection may take the file between them
            found = self._path(key).stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return Entry(key, found.st_size, found.st_mtime) if S_ISREG(found.st_mode) else None

    def keys(self, prefix: str) -> Iterator[str]:
        """The keys below a folder, in no order."""
        for parent, folders, files in os.walk(self._path(prefix) if prefix else self.workspace):
            relative = os.path.relpath(parent, self.workspace)
            if relative == ".":
                folders[:] = [folder for folder in folders if not is_scratch(folder)]
            for file in files:
                yield file if relative == "." else f"{relative}/{file}".replace(os.sep, "/")

    def entries(self, prefix: str) -> Iterator[Entry]:
        """Size and age of every key below a folder, in no order."""
        for key in self.keys(prefix):
            entry = self.entry(key)
            if entry is not None:
                yield entry

    def children(self, folder: str) -> list[str]:
        """The names directly in a folder."""
        with suppress(FileNotFoundError, NotADirectoryError):
            return [child.name for child in self._path(folder).iterdir()]
        return []

    def local(self, key: str) -> Path | None:
        """A file with the bytes of `key`, or None."""
        path = self._path(key)
        return path if path.is_file() else None

    def forget(self, key: str) -> bool:  # noqa: ARG002
        """There are no copies: the local file is the blob."""
        return False

    def digest(self, key: str) -> str | None:
        """The SHA-256 of the bytes that are there now, or None."""
        with suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return sha256_file(self._path(key))
        return None

    def move(self, key: str, to: str) -> None:
        """Give a blob another name; nothing happens if it is gone."""
        source, target = self._path(key), self._path(to)
        self._make_folder(target.parent)
        try:
            os.utime(source)  # its age counts from here, as a copy's would in a bucket
            source.rename(target)
        except FileNotFoundError:
            return
        _fsync_folder(target.parent)

    def delete(self, key: str) -> None:
        """Remove `key` if it exists."""
        path = self._path(key)
        with suppress(IsADirectoryError, NotADirectoryError):  # then no such key exists
            path.unlink(missing_ok=True)
        # Elsewhere an empty folder does no harm, and another process may be about to use it.
        for folder in list(path.relative_to(self.workspace).parents)[:-2] if key.startswith("trash/") else []:
            try:
                (self.workspace / folder).rmdir()
            except OSError:
                break

    def usable(self) -> str | None:
        """Why the folder cannot be used now, or None."""
        readable = os.access(self.workspace, os.R_OK | os.X_OK)
        return None if readable else "the store's folder cannot be read"

    def free(self) -> int | None:
        """Bytes free on its disk."""
        return shutil.disk_usage(self.workspace).free

    def _path(self, key: str) -> Path:
        return self.workspace.joinpath(*key.split("/"))

    def _write(self, data: bytes) -> Path:
        path = self.workspace / "tmp" / uuid.uuid4().hex
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
        while True:
            try:
                os.link(finished, target)
            except FileExistsError:
                try:
                    os.utime(target)  # wanted again: young, so that no collection takes it before its marker is there
                except FileNotFoundError:
                    continue  # one has just taken it
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
