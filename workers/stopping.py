"""How a worker that is told to stop tells the processes of its pool, which hear nothing of it by themselves: what they
do may take hours, and can be put aside. And how it ends once they have."""

import logging
import os
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
from celery.signals import worker_init, worker_shutdown, worker_shutting_down

from ranking.settings import load_settings

log = logging.getLogger("pairsieve.workers")

_GRACE = 5.0
"""Seconds that a worker has to end by itself once its pool has."""


def is_stopping() -> bool:
    """Whether the worker whose pool this process belongs to was told to stop."""
    return _flag(os.getppid()).exists()


def _flag(pid: int) -> Path:
    return Path(load_settings().cache).expanduser() / "stopping" / str(pid)


def _clear(**_: Any) -> None:
    # At the end its own, at the beginning that of a killed process which had this number before.
    _flag(os.getpid()).unlink(missing_ok=True)


def _stop(exitcode: int | None = None, **_: Any) -> None:
    flag = _flag(os.getpid())
    flag.parent.mkdir(parents=True, exist_ok=True)
    flag.touch()
    # Celery tells of a stop at once only after it has ended what it stops.
    threading.Thread(target=_end_after_it, args=(exitcode or 0,), daemon=True).start()


def _end_after_it(status: int) -> None:
    """End this process when its pool has. billiard's own way out waits for ever for a lock where a process of the pool
    was ended while it held it."""
    while _pool():
        time.sleep(0.2)
    time.sleep(_GRACE)
    log.info("The pool has ended, and this worker waits for what never comes: it ends")
    _clear()
    os._exit(status)


def _pool() -> list[int]:
    """The ids of its processes that run, without what keeps books of semaphores, which ends with this one. Nobody is
    waited for: how they ended is for the pool to hear."""
    found = []
    for child in psutil.Process().children():
        with suppress(psutil.Error):
            if child.status() != psutil.STATUS_ZOMBIE and not any("_tracker" in word for word in child.cmdline()):
                found.append(child.pid)
    return found


worker_init.connect(_clear)
worker_shutdown.connect(_clear)
worker_shutting_down.connect(_stop)
