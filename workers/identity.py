"""Which process did something, in a form that another process on the same machine can check for life."""

import os
import socket
from functools import cache
from pathlib import Path


def worker_name() -> str:
    """This process as host/pid/start. Host includes the PID namespace, so two containers are two hosts."""
    return f"{_host()}/{os.getpid()}/{_started(os.getpid())}"


def is_gone(worker: str) -> bool:
    """Whether a `worker_name` is surely dead: of this machine, and no such process runs. False when in
    doubt."""
    host, _, rest = worker.rpartition("/")[0].rpartition("/")
    pid, start = rest, worker.rpartition("/")[2]
    if host != _host() or not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return start != _started(int(pid))


@cache
def _host() -> str:
    try:
        namespace = Path("/proc/self/ns/pid").readlink().name
    except OSError:
        namespace = ""
    return f"{socket.gethostname()}{namespace.removeprefix('pid:')}"


def _started(pid: int) -> str:
    """When a process began, in clock ticks since boot; "" where the system does not say."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    fields = stat.rpartition(")")[2].split()  # the name before it may hold spaces
    return "" if fields[0] in "ZX" else fields[19]
