"""What `pairsieve up` runs: the commands of API, worker and clock, and the moment when the API answers."""

import http.client
import secrets
import sys
import time
from collections.abc import Callable, Sequence

from service.commands.serve import listen
from service.supervisor import Program

_LOOK_EVERY = 0.5  # seconds


def programs(host: str, port: int, log_level: str) -> list[Program]:
    """API, worker and clock, as `up` starts them."""
    # Remapped, so that SIGTERM gives the slice in hand back instead of waiting for its end.
    told_to_stop = {"REMAP_SIGTERM": "SIGQUIT"}
    return [
        Program("api", api_command(host, port)),
        Program("worker", worker_command(log_level, ["control", "score", "train"]), told_to_stop),
        Program("clock", beat_command(log_level)),
    ]


def api_command(host: str, port: int) -> list[str]:
    """The API, exactly as `serve` runs it."""
    return [sys.executable, "-m", "service.cli", "serve", "--host", host, "--port", str(port)]


def worker_command(log_level: str, queues: Sequence[str], *, name: str | None = None) -> list[str]:
    """A Celery worker with our settings; its name is random unless given, so that several may run on a machine."""
    name = name or f"pairsieve-{secrets.token_hex(3)}"
    return [
        *_celery("worker", log_level),
        *["-Q", ",".join(queues), "--hostname", f"{name}@%h"],
        *["--without-gossip", "--without-mingle", "--without-heartbeat"],
    ]


def beat_command(log_level: str) -> list[str]:
    """A Celery beat with our scheduler; two do no harm, so it has no pid file."""
    return [*_celery("beat", log_level), "--pidfile="]


def _celery(command: str, log_level: str) -> list[str]:
    return [
        *[sys.executable, "-m", "celery", "--quiet", "--no-color", "-A", "workers.celery_app"],
        *[command, "--loglevel", log_level],
    ]


def free_port(host: str, port: int) -> int:
    """The port itself (another one for 0) if the API can listen on it; PairsieveError in one line otherwise."""
    with listen(host, port) as probe:
        return int(probe.getsockname()[1])


class Announcer:
    """Calls `say(url)` once, when the API answers for the first time."""

    def __init__(self, host: str, port: int, say: Callable[[str], None]) -> None:
        self._host, self._port, self._say = host, port, say
        self._next = 0.0
        self._said = False

    def look(self) -> None:
        """Ask the API whether it lives, now and then, until it does."""
        if self._said or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _LOOK_EVERY
        connection = http.client.HTTPConnection(self._host, self._port, timeout=0.5)
        try:
            connection.request("GET", "/livez")
            alive = connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            alive = False
        finally:
            connection.close()
        if alive:
            self._said = True
            host = f"[{self._host}]" if ":" in self._host else self._host
            self._say(f"http://{host}:{self._port}/")
