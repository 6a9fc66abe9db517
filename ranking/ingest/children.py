"""Starts the processes that read untrusted files, hands them jobs and notices when one dies. Reads no file itself."""

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from ranking.errors import SourceError
from ranking.ingest.sandbox import MEMORY

_MOST = 2  # each may take the whole memory limit
_STALL_SECONDS: Final = 600.0  # without a sign of life; the longest wait for a remote server is far below
_LONGEST_LINE: Final = 2**20
_PACKAGES = Path(__file__).parents[2]

Job = Mapping[str, Any]
"""What `ranking.ingest.sandbox` does and to what; `uri` is the file that errors name and stays here."""


class Children:
    """Up to two children that do jobs, each started when it is first needed. Leave the `with` block to end them."""

    def __init__(self, folder: Path, *, memory_gb: float, remote: bool) -> None:
        """They write below `folder` and may take `memory_gb` × 2³⁰ bytes each; credentials of buckets and hubs reach
        them only if the sources are `remote`."""
        self._folder = folder
        self._memory_gb = memory_gb
        self._environment = _environment(remote)
        self._children: list[_Child] = []

    def __enter__(self) -> "Children":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with ExitStack() as stack:
            for child in self._children:
                stack.callback(child.end)
        self._children = []

    def run(self, jobs: Sequence[Job], progress: Callable[[int, int], None] | None = None) -> list[dict[str, Any]]:
        """The results of the jobs, in their order. `progress(job, bytes)` as they go on.

        Of several jobs that fail the first one's SourceError is raised, whichever ended first.
        """
        results: dict[int, dict[str, Any]] = {}
        errors: dict[int, SourceError] = {}
        waiting = deque(range(len(jobs)))
        with selectors.DefaultSelector() as selector:
            running: dict[_Child, int] = {}
            while waiting or running:
                for child in self._idle(running, len(waiting)):
                    index = waiting.popleft()
                    child.begin(jobs[index])
                    running[child] = index
                    selector.register(child.output, selectors.EVENT_READ, child)
                ready = {key.data for key, _ in selector.select(timeout=1.0)}
                for child, index in list(running.items()):
                    try:
                        for line in child.receive(jobs[index], ready=child in ready):
                            if "progress" in line and progress:
                                progress(index, int(line["progress"]))
                            elif "result" in line:
                                results[index] = line["result"]
                    except SourceError as error:
                        errors[index] = error
                        waiting.clear()
                    if index in results or index in errors:
                        selector.unregister(child.output)
                        del running[child]
                for child, index in list(running.items()):
                    if errors and index > min(errors):  # what it finds can no longer matter
                        selector.unregister(child.output)
                        child.end()
                        del running[child]
        if errors:
            raise errors[min(errors)]
        return [results[index] for index in range(len(jobs))]

    def _idle(self, running: Mapping["_Child", int], wanted: int) -> list["_Child"]:
        self._children = [child for child in self._children if child.alive]
        idle = [child for child in self._children if child not in running]
        most = min(_MOST, os.cpu_count() or 1)
        while len(idle) < wanted and len(self._children) < most:
            child = _Child(self._folder, self._memory_gb, self._environment)
            self._children.append(child)
            idle.append(child)
        return idle[:wanted]


class _Child:
    def __init__(self, folder: Path, memory_gb: float, environment: Mapping[str, str]) -> None:
        self._memory_gb = memory_gb
        self._errors = folder / f"child-{time.monotonic_ns()}.err"
        limits = [str(int(memory_gb * 2**30)), str(os.getpid())]
        with self._errors.open("wb") as errors:
            # A session of its own: Ctrl-C reaches us alone, and we end it.
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "ranking.ingest.sandbox", *limits],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=folder,
                env=environment,
                start_new_session=True,
            )
        assert self._process.stdout is not None and self._process.stdin is not None
        self.output = self._process.stdout.fileno()
        os.set_blocking(self.output, False)
        self._rest = b""
        self._heard = time.monotonic()

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def begin(self, job: Job) -> None:
        self._heard = time.monotonic()
        line = json.dumps({name: value for name, value in job.items() if name != "uri"})
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it died: receiving says how
            self._process.stdin.write(line.encode() + b"\n")
            self._process.stdin.flush()

    def receive(self, job: Job, *, ready: bool) -> list[dict[str, Any]]:
        """The whole lines that have come. SourceError if the job failed, or the child with it."""
        if not ready:
            if time.monotonic() - self._heard > _STALL_SECONDS:
                self.end()
                raise _refused(job["uri"], f"gives nothing for {_STALL_SECONDS / 60:.0f} minutes", "check the file")
            return []
        self._heard = time.monotonic()
        try:
            data = os.read(self.output, 65_536)
        except BlockingIOError:
            return []
        if not data:
            raise self._death(job["uri"])
        *lines, self._rest = (self._rest + data).split(b"\n")
        try:
            if len(self._rest) > _LONGEST_LINE:
                raise ValueError("a line without end")
            answers = [json.loads(line) for line in lines]
        except ValueError as error:
            self.end()
            raise _refused(job["uri"], "breaks the process that reads it", "do not trust it") from error
        for answer in answers:
            if "error" in answer:
                raise self._failure(job["uri"], answer["error"])
        return answers

    def end(self) -> None:
        if self.alive:
            self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()

    def _failure(self, uri: str, error: Mapping[str, Any]) -> SourceError:
        if error["code"] == MEMORY:
            self.end()  # what is left of its memory is anybody's guess
            return self._too_large(uri)
        if error.get("odd"):
            return SourceError(f"source {uri} cannot be read ({error['message']})", code=error["code"])
        return SourceError(error["message"], code=error["code"], hint=error["hint"])

    def _death(self, uri: str) -> SourceError:
        status = self._process.wait()
        last = self._errors.read_bytes()[-4096:]
        self.end()
        if (status == -signal.SIGABRT and b"alloc" in last) or b"MemoryError" in last:
            return self._too_large(uri)
        name = signal.Signals(-status).name if status < 0 else f"status {status}"
        if status == -signal.SIGKILL:
            return _refused(uri, "was being read when the reader was killed", "is there enough memory? try again")
        return _refused(uri, f"breaks the process that reads it ({name})", "do not trust it")

    def _too_large(self, uri: str) -> SourceError:
        need = f"needs more than {self._memory_gb:g} GB to read"
        return _refused(uri, need, "raise PAIRSIEVE_INGEST_MEMORY_GB if you trust it", code="source-too-large")


def _refused(uri: str, what: str, hint: str, *, code: str = "source-unreadable") -> SourceError:
    return SourceError(f"source {uri} {what}: refused", code=code, hint=hint)


def _environment(remote: bool) -> dict[str, str]:
    # Whatever takes over a reader of a local file finds no secret there.
    secret = ("PAIRSIEVE_",) if remote else ("PAIRSIEVE_", "AWS_", "HF_", "HUGGING_FACE_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(secret)}
    path = os.pathsep.join([str(_PACKAGES), *filter(None, [os.environ.get("PYTHONPATH")])])
    # The system's allocator asks for what it needs; others reserve gigabytes, which would count against the limit.
    return kept | {"PYTHONPATH": path, "ARROW_DEFAULT_MEMORY_POOL": "system", "MALLOC_ARENA_MAX": "2"}
