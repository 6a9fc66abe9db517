"""The decoder processes, seen from the engine: started when first needed, kept over slices, replaced when a picture
kills one. Pictures go in and what was made of them comes out, in any order."""

from __future__ import annotations

import atexit
import logging
import os
import queue
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from ranking.errors import PairsieveError
from ranking.images.decode import Found
from ranking.settings import Settings
from workers.engine.decoding import Examined, Wanted, crashed, examine
from workers.engine.frames import FrameError, pack_wanted, receive, send, unpack_examined

log = logging.getLogger("pairsieve.engine")

Key = TypeVar("Key")

_AT_ONCE = 8
_BYTES_AT_ONCE = 4_000_000
"""Pictures that one process has in hand: enough that nobody waits for a message, few enough to share them fairly."""

_START_SECONDS = 120.0
_GRACE_SECONDS = 15.0  # the process ends itself when a picture's time is over; this is for one that cannot
_PACKAGES = Path(__file__).parents[2]
_MOST = 64


class DecoderError(PairsieveError):
    """Decoder processes cannot be started here, or die whatever they are given."""

    default_code = "decoder"


class Decoders:
    """Up to `count` processes that take `memory_gb` × 2³⁰ bytes of address space and `seconds` a picture at most.

    A process that dies costs the pictures that it had not answered another try: the one it was at alone, those behind
    it together. One that kills its process again, alone, has the status `crash`. Safe to use from several threads.
    """

    def __init__(self, count: int, *, memory_gb: float = 3.0, seconds: float = 60.0) -> None:
        self.count = count
        self._memory = int(memory_gb * 2**30)
        self._seconds = seconds
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="decoder")
        self._idle: queue.LifoQueue[_Child] = queue.LifoQueue()  # the warmest first
        self._children: set[_Child] = set()
        self._lock = threading.Lock()
        self._closed = False

    def __enter__(self) -> Decoders:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pids(self) -> list[int]:
        """The processes that live now."""
        with self._lock:
            return [child.pid for child in self._children]

    def examine_all(self, pictures: Iterable[tuple[Key, Found]], wanted: Wanted) -> Iterator[tuple[Key, Examined]]:
        """What is made of each picture, under its key, as soon as it is there. Takes from `pictures` only what the
        processes can have in hand, with as much waiting. DecoderError where no process can be had."""
        if self._closed:
            raise DecoderError("the decoders have been closed")
        running: set[Future[list[tuple[Key, Examined]]]] = set()
        jobs = _jobs(pictures)
        more = True
        try:
            while more or running:
                while more and len(running) < 2 * self.count:
                    job = next(jobs, None)
                    if job is None:
                        more = False
                    else:
                        running.add(self._threads.submit(self._examine, job, wanted))
                if running:
                    done, running = wait(running, return_when=FIRST_COMPLETED)
                    for future in done:
                        yield from future.result()
        finally:
            for future in running:
                future.cancel()

    def close(self) -> None:
        """End every process. What is under way fails."""
        self._closed = True
        with self._lock:
            children = list(self._children)
        for child in children:
            child.kill()
        self._threads.shutdown(wait=True, cancel_futures=True)
        for child in children:
            child.end()
        self._children.clear()

    def _examine(self, job: Sequence[tuple[Key, Found]], wanted: Wanted) -> list[tuple[Key, Examined]]:
        known = [(key, data) for key, data in job if isinstance(data, bytes)]
        results = [(key, examine(data, wanted)) for key, data in job if not isinstance(data, bytes)]
        todo = [(known, False)] if known else []
        while todo:
            part, again = todo.pop()
            child = self._take()
            try:
                answers = child.examine([data for _, data in part], wanted)
            finally:
                self._give_back(child)
            results += [(key, answer) for (key, _), answer in zip(part, answers, strict=False)]
            if len(answers) == len(part):
                continue
            if self._closed:
                raise DecoderError("the decoders have been closed")
            # It was at the first without an answer, which is tried alone; those behind it may be innocent.
            first, rest = part[len(answers)], part[len(answers) + 1 :]
            if len(part) > 1 or not again:
                todo += [(rest, False)] if rest else []
                todo.append(([first], True))
            else:
                log.warning("%s ends its decoder (%s)", first[0], child.ending)
                results.append((first[0], crashed(first[1], wanted, f"the decoder ended ({child.ending})")))
        return results

    def _take(self) -> _Child:
        with suppress(queue.Empty):
            return self._idle.get_nowait()
        if self._closed:
            raise DecoderError("the decoders have been closed")
        child = _Child(self._memory, self._seconds)
        with self._lock:
            self._children.add(child)
        try:
            child.greet()
        except BaseException:
            self._drop(child)
            raise
        return child

    def _give_back(self, child: _Child) -> None:
        if child.usable and not self._closed:
            self._idle.put(child)
        else:
            self._drop(child)

    def _drop(self, child: _Child) -> None:
        child.end()
        with self._lock:
            self._children.discard(child)


class _Child:
    """One process. Not for several threads at once, but for `kill`."""

    def __init__(self, memory_bytes: int, seconds: float) -> None:
        self._most = memory_bytes
        self._patience = seconds + _GRACE_SECONDS
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  (closed with the process)
        self._sock, theirs = socket.socketpair()
        arguments = [str(os.getpid()), str(memory_bytes), str(seconds)]
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "workers.engine.child", *arguments],
                stdin=theirs,
                stdout=self._errors,
                stderr=self._errors,
                env=_environment(),
                start_new_session=True,  # Ctrl-C reaches us alone
            )
        self.pid = self._process.pid
        self.usable = True

    def greet(self) -> None:
        """Wait until it is there; DecoderError if it does not come."""
        self._sock.settimeout(_START_SECONDS)
        with suppress(OSError, FrameError):
            if receive(self._sock, most=0) is not None:
                return
        self.kill()
        self._process.wait()
        self._errors.seek(0)
        said = self._errors.read()[-4096:].decode(errors="replace").strip().splitlines()
        raise DecoderError(
            f"a decoder process does not start ({said[-1] if said else self.ending})",
            hint="is there enough memory? PAIRSIEVE_DECODER_GB limits what one may take",
        )

    def examine(self, pictures: Sequence[bytes], wanted: Wanted) -> list[Examined]:
        """What it makes of the first of these pictures: of all, unless it dies on the way or does not answer in time.
        Then, and if this raises, it is not usable any more."""
        self.usable = False
        answers: list[Examined] = []
        self._sock.settimeout(self._patience)
        try:
            send(self._sock, pack_wanted(wanted), pictures)
            while len(answers) < len(pictures):
                answer = receive(self._sock, most=self._most)
                if answer is None:
                    break
                answers.append(unpack_examined(*answer, wanted))
        except (OSError, FrameError) as error:
            log.debug("decoder %d: %s", self.pid, error)
        self.usable = len(answers) == len(pictures)
        if not self.usable:
            self._wait_or_kill()
        return answers

    def _wait_or_kill(self) -> None:
        # Where it died by itself, its own ending says more than ours.
        try:
            self._process.wait(1.0)
        except subprocess.TimeoutExpired:
            self.kill()

    @property
    def ending(self) -> str:
        """How it ended, in a word."""
        status = self._process.wait()
        if status == -signal.SIGALRM:
            return "time-out"
        return signal.Signals(-status).name if status < 0 else f"status {status}"

    def kill(self) -> None:
        """End it now. For any thread."""
        self._process.kill()

    def end(self) -> None:
        """Let go of it, and of all that belongs to it."""
        self.usable = False
        self._sock.close()
        self._process.kill()
        self._process.wait()
        self._errors.close()


def _jobs(pictures: Iterable[tuple[Key, Found]]) -> Iterator[list[tuple[Key, Found]]]:
    job: list[tuple[Key, Found]] = []
    held = 0
    for key, data in pictures:
        job.append((key, data))
        held += len(data) if isinstance(data, bytes) else 0
        if len(job) >= _AT_ONCE or held >= _BYTES_AT_ONCE:
            yield job
            job, held = [], 0
    if job:
        yield job


def _environment() -> dict[str, str]:
    # Whatever takes over a decoder finds no secret there, and no more threads than it needs.
    secret = ("PAIRSIEVE_", "AWS_", "HF_", "HUGGING_FACE_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(secret)}
    path = [str(_PACKAGES), *(place or str(Path.cwd()) for place in sys.path)]
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    # The system's allocator asks for what it needs; others reserve gigabytes, which would count against the limit.
    memory = {"ARROW_DEFAULT_MEMORY_POOL": "system", "MALLOC_ARENA_MAX": "2"}
    return kept | threads | memory | {"PYTHONPATH": os.pathsep.join(dict.fromkeys(path))}


def usable_cores() -> int:
    """Processors that this process may use: by its affinity and, in a container, by its quota."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS
        cores = os.cpu_count() or 1
    with suppress(OSError, ValueError):
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        cores = min(cores, max(1, round(int(quota) / int(period))))
    return cores


_shared: dict[tuple[int, int, float, float], Decoders] = {}
_shared_lock = threading.Lock()


def shared_decoders(settings: Settings) -> Decoders:
    """The decoders of this process, kept until it ends: to start one takes as long as to decode fifty pictures."""
    count = settings.decoders or min(usable_cores(), _MOST)
    key = (os.getpid(), count, settings.decoder_gb, settings.decode_seconds)  # a forked process starts its own
    with _shared_lock:
        if key not in _shared:
            _shared[key] = Decoders(count, memory_gb=settings.decoder_gb, seconds=settings.decode_seconds)
            atexit.register(_shared[key].close)
        return _shared[key]
