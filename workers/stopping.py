"""How a worker that is told to stop tells the processes of its pool, which hear nothing of it by themselves: what they
do may take hours, and can be put aside."""

import os
from pathlib import Path
from typing import Any

from celery.signals import worker_init, worker_shutdown, worker_shutting_down

from ranking.settings import load_settings


def is_stopping() -> bool:
    """Whether the worker whose pool this process belongs to was told to stop."""
    return _flag(os.getppid()).exists()


def _flag(pid: int) -> Path:
    return Path(load_settings().cache).expanduser() / "stopping" / str(pid)


def _clear(**_: Any) -> None:
    # At the end its own, at the beginning that of a killed process which had this number before.
    _flag(os.getpid()).unlink(missing_ok=True)


def _stop(**_: Any) -> None:
    flag = _flag(os.getpid())
    flag.parent.mkdir(parents=True, exist_ok=True)
    flag.touch()


worker_init.connect(_clear)
worker_shutdown.connect(_clear)
worker_shutting_down.connect(_stop)
