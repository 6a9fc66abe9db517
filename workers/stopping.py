"""How a worker that is told to stop tells the processes of its pool, which hear nothing of it by themselves: what they
do may take hours, and can be put aside."""

import os
from pathlib import Path
from typing import Any

from celery.signals import worker_init, worker_shutting_down

from ranking.settings import load_settings


def is_stopping() -> bool:
    """Whether the worker whose pool this process belongs to was told to stop."""
    return _flag(os.getppid()).exists()


def _flag(pid: int) -> Path:
    return Path(load_settings().cache).expanduser() / "stopping" / str(pid)


def _begin(**_: Any) -> None:
    # Of a process that had this number before.
    _flag(os.getpid()).unlink(missing_ok=True)


def _stop(**_: Any) -> None:
    flag = _flag(os.getpid())
    flag.parent.mkdir(parents=True, exist_ok=True)
    flag.touch()


worker_init.connect(_begin)
worker_shutting_down.connect(_stop)
