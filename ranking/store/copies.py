"""Local copies of immutable blobs, bounded by size: what was not used for longest goes first. Never the truth: any of
it may be deleted at any time."""

import contextlib
import os
import time
from pathlib import Path

IN_USE = 3600.0
"""Seconds after its last use for which a copy stays, however full the folder: its path was given to somebody."""

_LOOK_EVERY = 0.05  # of the limit: how much may come in before the folder is measured again


class Copies:
    """Files named by key in one folder that several processes share; each appears whole, by a rename."""

    def __init__(self, folder: Path, limit: int) -> None:
        self._folder = folder
        self._limit = limit
        self._unmeasured = limit  # measured once by every process, then now and then

    def find(self, key: str) -> Path | None:
        """The copy of `key`, marked as used now; None if there is none."""
        path = self._path(key)
        try:
            os.utime(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        return path

    def keep(self, key: str, finished: Path) -> Path:
        """Take over a finished file of the same file system as the copy of `key`."""
        path = self._path(key)
        size = finished.stat().st_size
        while True:
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                finished.replace(path)
                break
            except FileNotFoundError:
                if not finished.exists():
                    raise
                # Another process has just removed the empty folder: make it again.
        os.utime(path)
        self._unmeasured += size
        if self._unmeasured > self._limit * _LOOK_EVERY:
            self._unmeasured = 0
            self._trim()
        return path

    def drop(self, key: str) -> bool:
        """Delete the copy of `key`; whether there was one."""
        path = self._path(key)
        try:
            path.unlink()
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def _path(self, key: str) -> Path:
        return self._folder.joinpath(*key.split("/"))

    def _trim(self) -> None:
        found: list[tuple[float, int, Path]] = []
        for parent, _, names in os.walk(self._folder):
            for name in names:
                path = Path(parent) / name
                with contextlib.suppress(FileNotFoundError):
                    stat = path.stat()
                    found.append((stat.st_mtime, stat.st_size, path))
        total = sum(size for _, size, _ in found)
        latest = time.time() - IN_USE
        for used, size, path in sorted(found, key=lambda item: item[0]):
            if total <= self._limit or used > latest:
                return
            path.unlink(missing_ok=True)
            total -= size
            self._remove_empty(path.parent)

    def _remove_empty(self, folder: Path) -> None:
        while folder != self._folder:
            try:
                folder.rmdir()
            except OSError:
                return  # not empty, or gone already
            folder = folder.parent
