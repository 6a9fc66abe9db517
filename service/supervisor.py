"""Keeps a few child processes running until told to stop: starts, restarts, passes their lines on, and leaves
no orphan.

One thread and one loop. Each child leads its own process group, so Ctrl-C in the terminal reaches only the
supervisor, and what a child left behind can be ended with its group.
"""

import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from types import FrameType

_STEADY = 60.0  # seconds after which a child counts as healthy again
_LONGEST_PAUSE = 30.0
_SILENCE = 1.0  # seconds after which one is told who is waited for
_CHUNK = 65_536


@dataclass(frozen=True)
class Program:
    """What to run: `name` stands before its lines, `argv` is the command, `env` is laid over ours."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass
class _Child:
    program: Program
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    failures: int = 0
    start_at: float = 0.0
    rest: bytes = b""


class Supervisor:
    """Runs programs side by side. `write(name, line)` gets every line they print, and what there is to say of
    them."""

    def __init__(
        self, programs: Sequence[Program], write: Callable[[str, str], None], *, patience: float = 60.0
    ) -> None:
        self._children = [_Child(program) for program in programs]
        self._write = write
        self._patience = patience
        self._selector = selectors.DefaultSelector()
        self._signals = 0

    def run(self, on_turn: Callable[[], None] = lambda: None) -> None:
        """Return when SIGINT or SIGTERM came and every child is gone. `on_turn` is called a few times a
        second.

        The children get SIGTERM and `patience` seconds; a second signal, or the end of patience, is SIGKILL.
        """
        with _signals(self._on_signal):
            try:
                while not self._signals:
                    self._keep_running()
                    self._read(0.2)
                    on_turn()
            finally:
                self._stop()

    def _keep_running(self) -> None:
        now = time.monotonic()
        for child in self._children:
            if child.process is None:
                if now >= child.start_at:
                    self._start(child)
            elif child.process.poll() is not None:
                self._clean_up(child)
                child.failures = 1 if now - child.started > _STEADY else child.failures + 1
                pause = min(2.0 ** (child.failures - 1), _LONGEST_PAUSE)
                child.start_at = now + pause
                self._write(child.program.name, f"ended ({_ending(child)}), starts again in {pause:.0f} s")
                child.process = None

    def _start(self, child: _Child) -> None:
        leash = [sys.executable, "-m", "service.leash", str(os.getpid())]
        child.process = subprocess.Popen(
            [*leash, *child.program.argv],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **child.program.env},
            process_group=0,
        )
        child.started = time.monotonic()
        assert child.process.stdout is not None
        os.set_blocking(child.process.stdout.fileno(), False)
        self._selector.register(child.process.stdout, selectors.EVENT_READ, child)

    def _read(self, timeout: float) -> None:
        for key, _ in self._selector.select(timeout):
            child: _Child = key.data
            try:
                data = os.read(key.fd, _CHUNK)
            except BlockingIOError:
                continue
            if not data:
                self._selector.unregister(key.fileobj)
                continue
            *lines, child.rest = (child.rest + data).split(b"\n")
            for line in lines:
                text = line.decode(errors="replace").rstrip()
                if text:
                    self._write(child.program.name, text)

    def _stop(self) -> None:
        running = [child for child in self._children if child.process is not None]
        for child in running:
            assert child.process is not None
            with suppress(ProcessLookupError):
                child.process.terminate()
        began, asked, told = time.monotonic(), self._signals, False
        while (waited := time.monotonic() - began) < self._patience and self._signals == asked:
            left = [child for child in running if child.process is not None and child.process.poll() is None]
            if not left:
                break
            if not told and waited > _SILENCE:
                for child in left:
                    self._write(
                        child.program.name, f"has up to {self._patience:.0f} s to end; Ctrl-C again ends it now"
                    )
                told = True
            self._read(0.1)
        for child in running:
            self._clean_up(child)

    def _clean_up(self, child: _Child) -> None:
        """End what is left of a child's process group, and pass its last lines on."""
        assert child.process is not None
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(child.process.pid, signal.SIGKILL)
        child.process.wait()
        assert child.process.stdout is not None
        with suppress(KeyError):
            self._read(0)
            self._selector.unregister(child.process.stdout)
        if child.rest.strip():
            self._write(child.program.name, child.rest.decode(errors="replace").rstrip())
        child.rest = b""
        child.process.stdout.close()

    def _on_signal(self, _signum: int, _frame: FrameType | None) -> None:
        self._signals += 1


@contextmanager
def _signals(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    wanted = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, handler) for number in wanted}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def _ending(child: _Child) -> str:
    assert child.process is not None
    code = child.process.returncode
    return f"exit code {code}" if code >= 0 else f"signal {-code}"
