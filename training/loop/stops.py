"""Being told to stop: a signal ends a training between two steps, with its state put aside, and everything else at
once."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from ranking.errors import PairsieveError

SIGNALS = (signal.SIGINT, signal.SIGTERM)
_OF_WORKERS = (signal.SIGQUIT,)  # how a pool ends its processes when `up` ends, or a worker at once
_ECHO = 1.0  # seconds in which a second signal is the first: a terminal's and the launcher's that passes it on
_ASKED = 128  # a shell's exit status of a process that a signal ended is this plus the signal's number


class StoppedError(PairsieveError):
    """A run was told to stop, and may go on any time. The exit code is the shell's own for the signal, 130 for Ctrl-C
    and 143 for SIGTERM."""

    default_code = "stopped"


def every_so_often(ask: Callable[[], bool], *, seconds: float = 2.0) -> Callable[[], bool]:
    """The same question, asked at most so often; a yes stays one."""
    last, answer = float("-inf"), False

    def asked() -> bool:
        nonlocal last, answer
        if not answer and time.monotonic() - last >= seconds:
            last, answer = time.monotonic(), ask()
        return answer

    return asked


class Interruption(Exception):
    """Leaves a step that is not finished."""


class Stops:
    """Whether this process was told to stop, by SIGINT or SIGTERM while it is `listening`, or by whoever answers
    `elsewhere` with True: then this is a worker's, whose pool says it thrice, with SIGQUIT too, and once is heard.
    `where` says how far the run is, for the line that ends it; `agreed` whether all processes of it stop together."""

    def __init__(self, run_id: str, *, elsewhere: Callable[[], bool] | None = None) -> None:
        self._run_id = run_id
        self._elsewhere = elsewhere
        self.where = "while it loads"
        self.agreed = False
        self._signal: int | None = None
        self._first = 0.0
        self._deferred = False

    @property
    def asked(self) -> bool:
        """Whether the training should end at the next opportunity."""
        return self._signal is not None or (self._elsewhere is not None and self._elsewhere())

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take the signals for as long as the block lasts; outside the main thread there is nothing to take."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        taken = SIGNALS if self._elsewhere is None else (*SIGNALS, *_OF_WORKERS)
        before = {number: signal.signal(number, self._take) for number in taken}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Inside, the first signal is kept in mind, and the block ends when it has seen `asked`; a second one ends it
        at once."""
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False

    def interrupt(self) -> None:
        """Raise Interruption where the training should end."""
        if self.asked:
            raise Interruption

    def error(self, what: str) -> StoppedError:
        """The error that ends the run, saying what became of it."""
        number = self._signal or signal.SIGTERM
        return StoppedError(
            f"run {self._run_id} is stopped {what}", hint="the same command goes on", exit_code=_ASKED + number
        )

    def _take(self, number: int, frame: FrameType | None) -> None:
        del frame
        if self._signal is None:
            self._signal, self._first = number, time.monotonic()
            if self._deferred:
                return
        elif self._elsewhere is not None or time.monotonic() - self._first < _ECHO:
            return
        raise self.error("before it put its state aside" if self._deferred else self.where)
