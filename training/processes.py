"""The processes of a training on one machine: the caller becomes the first, the others are started beside it and end
with it. `accelerate launch` and torchrun do the same from outside, on several machines too."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from tempfile import TemporaryFile
from typing import IO

from ranking.errors import PairsieveError, UsageError
from training.loop.stops import StoppedError

_PATIENCE = 20.0  # seconds a process may take to end once another has
_LAST_WORDS = 2000


def world() -> int:
    """How many processes a launcher has started for one training; 1 without one."""
    return _number("WORLD_SIZE", 1)


def is_first() -> bool:
    """Whether this is the process that keeps the records, which one alone is whatever RANK is left in its shell."""
    return world() == 1 or _number("RANK", 0) == 0


def check_launched(processes: int) -> None:
    """UsageError where a launcher has started another number of processes than `processes`."""
    if world() > 1 and world() != processes:
        raise UsageError(
            f"the config is for {processes} processes, and a launcher started {world()}",
            hint=f"--processes {world()}, which is another run, or have the launcher start {processes}",
        )


@contextmanager
def gathered(processes: int, run_id: str) -> Iterator[None]:
    """Have `processes` of them train a planned run while the block lasts, this one the first. Does nothing where a
    launcher has started them, or one is enough.

    Raises UsageError where a launcher started another number of them, and PairsieveError with the last words of one
    that failed.
    """
    check_launched(processes)
    if processes == 1 or world() > 1:
        yield
        return
    place = {"WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
    before = {name: os.environ.get(name) for name in (*place, "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE")}
    os.environ |= place | {"RANK": "0", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": str(processes)}
    helpers = [_Helper(rank, run_id) for rank in range(1, processes)]
    watch = threading.Thread(target=_watch, args=(helpers, ended := threading.Event()), daemon=True)
    watch.start()
    try:
        yield
    except StoppedError:
        raise
    except Exception as error:
        if (failed := _failed(helpers)) is not None:
            raise failed from error
        raise
    finally:
        ended.set()
        watch.join()
        for helper in helpers:
            helper.end()
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


class _Helper:
    def __init__(self, rank: int, run_id: str) -> None:
        self.rank = rank
        self.words: IO[bytes] = TemporaryFile()  # noqa: SIM115 - closed when the process has ended
        env = os.environ | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
        command = [sys.executable, "-m", "training.follow", run_id]
        # A group of its own: Ctrl-C reaches the first process alone, which tells the others between two steps.
        self.process = subprocess.Popen(command, env=env, stdout=self.words, stderr=subprocess.STDOUT, process_group=0)

    @property
    def failure(self) -> PairsieveError | None:
        if self.process.poll() in (None, 0):
            return None
        self.words.seek(max(0, self.words.seek(0, os.SEEK_END) - _LAST_WORDS))
        lines = [line.strip() for line in self.words.read().decode(errors="replace").splitlines() if line.strip()]
        last = lines[-1].removeprefix("error: ") if lines else "it said nothing"
        return PairsieveError(f"process {self.rank} ended with status {self.process.returncode}: {last}")

    def end(self) -> None:
        """Let it finish, or end it."""
        try:
            self.process.wait(_PATIENCE if self.process.poll() is None else 0)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.words.close()


def _failed(helpers: Sequence[_Helper]) -> PairsieveError | None:
    until = time.monotonic() + 2.0  # what ended this process may have been the end of another
    while time.monotonic() < until:
        for helper in helpers:
            if (failure := helper.failure) is not None:
                return failure
        time.sleep(0.05)
    return None


def _watch(helpers: Sequence[_Helper], ended: threading.Event) -> None:
    """End this process when another has failed and this one, waiting for it on its device, does not notice."""
    while not ended.wait(0.5):
        if (failed := next((helper.failure for helper in helpers if helper.failure), None)) is not None:
            if ended.wait(_PATIENCE):
                return
            sys.stderr.write(f"error: {failed}\n")
            sys.stderr.flush()
            os._exit(1)


def _number(variable: str, otherwise: int) -> int:
    text = os.environ.get(variable, "") or str(otherwise)
    if not text.isdecimal():
        raise UsageError(f"{variable} is {text!r}, which is no number", hint="launchers set it; unset it")
    return int(text)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
