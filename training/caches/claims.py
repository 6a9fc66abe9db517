"""Which process makes what: locks on files, which the system takes back from a process that dies."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_LOOK_EVERY = 0.2  # seconds


@contextmanager
def claimed(path: Path, *, wait: bool = False, on_wait: Callable[[], object] | None = None) -> Iterator[bool]:
    """Whether this process alone holds `path` for the length of the block. With `wait` it does, after whoever holds it
    now; `on_wait` is called five times a second until then. The file is gone afterwards."""
    held = _taken(path)
    while held is None and wait:
        if on_wait is not None:
            on_wait()
        time.sleep(_LOOK_EVERY)
        held = _taken(path)
    try:
        yield held is not None
    finally:
        if held is not None:
            path.unlink(missing_ok=True)  # before it is let go: nobody can hold a file that has lost its name
            os.close(held)


def shared(path: Path) -> int:
    """A descriptor that holds `path` together with others like it, until it is closed."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        if _still_named(path, descriptor):
            return descriptor
        os.close(descriptor)


def _taken(path: Path) -> int | None:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    if _still_named(path, descriptor):
        return descriptor
    os.close(descriptor)
    return None


def _still_named(path: Path, descriptor: int) -> bool:
    """Whether the file that was opened has not been removed between opening and locking."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
