"""Does a scenario's work in forked children that are killed, or whose I/O fails, at the 1st, 2nd, 3rd … step.

A step is a call that changes a folder, opens a file or makes bytes last. After each the store is audited, the work is
done again, and the outcome must be that of a calm run. One process imports everything and forks for each step, as
starting Python anew would take most of the time. As a script it is that process.
"""

import errno
import json
import os
import pathlib
import resource
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

HERE = pathlib.Path(__file__).resolve().parent
PATHS = [HERE.parent, HERE, HERE / "ranking"]
ERRNOS = (errno.EIO, errno.ENOSPC, errno.EMFILE, errno.EINTR)
MOST = 400
LEAST = 32  # bytes; the first limit on the size of files is twice that
AT_ONCE = 2
CROWD = 4
ROUNDS = 5
CALM, SURVIVED, CLEAN_ERROR, UNCLEAN = 0, 5, 6, 7


@dataclass(frozen=True)
class Disturbed:
    """How many steps the work has; at how many an injected failure ended it with an error of ours, and at how many
    it went on regardless."""

    steps: int
    errors: int
    survived: int


def disturb(folder: pathlib.Path, scenario: str, *, how: str, shift: int = 0, every: int = 1) -> Disturbed:
    """Disturb a scenario at each of its steps, by "kill" or "fail", or by ever larger limits on the size of files
    ("limit") until it gets through; with "fail" the n-th step raises the error number
    n + `shift` of ERRNOS, in turn. Where steps are dear, only each `every`-th is disturbed. AssertionError with the
    child's words if anything does not hold."""
    return Disturbed(**json.loads(_run(folder, scenario, how, shift, every).splitlines()[-1]))


def _run(*words: object) -> str:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, PATHS))}
    command = [sys.executable, str(pathlib.Path(__file__)), *map(str, words)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False, env=environment)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def together(folder: pathlib.Path, scenario: str) -> None:
    """Let four processes do a scenario's work at the same moment, several times over: none may fail, the store must
    be whole, and the outcome that of a calm run. AssertionError with their words if not."""
    _run(folder, scenario, "together", 0, 1)


class Steps:
    """Counts calls in this process, and at the chosen one kills it or raises."""

    def __init__(self, chosen: int, disturbance: Callable[[], None]) -> None:
        self.left = self.chosen = chosen
        self._disturbance = disturbance

    def step(self, *args: Any) -> None:
        """One more, unless it is about a staging folder, where nothing is the store's yet."""
        if any("ingest-" in str(arg) or "import-" in str(arg) for arg in args if isinstance(arg, str | os.PathLike)):
            return
        self.left -= 1
        if self.left == 0:
            self._disturbance()

    def install(self) -> None:
        """Count from now on."""
        import pyarrow.parquet as pq

        for name in ("fsync", "link", "unlink", "rename", "replace", "mkdir", "open", "utime", "rmdir"):
            setattr(os, name, self._counted(getattr(os, name)))
        for name in ("write_table", "close"):
            setattr(pq.ParquetWriter, name, self._counted(getattr(pq.ParquetWriter, name)))
        real = pathlib.Path.open

        def open_path(path: pathlib.Path, *args: Any, **kwargs: Any) -> Any:
            self.step(path)
            return _File(real(path, *args, **kwargs), self)

        pathlib.Path.open = open_path  # type: ignore[method-assign, assignment]

    def _counted(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self.step(*args)
            return real(*args, **kwargs)

        return call


class _File:
    """A file whose writes count."""

    def __init__(self, file: Any, steps: Steps) -> None:
        self._file, self._steps = file, steps

    def write(self, data: Any) -> int:
        self._steps.step(self._file.name)
        return int(self._file.write(data))

    def __enter__(self) -> "_File":
        self._file.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._file.__exit__(*error)

    def __iter__(self) -> Any:
        return iter(self._file)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def _work(copy: pathlib.Path, scenario: Any, steps: Steps) -> int:
    """In a child: the disturbed work, and how it ended."""
    from ranking.errors import PairsieveError
    from ranking.store.blobs import Store
    from ranking.store.folder import FolderBlobs

    store = Store(FolderBlobs(copy / "store"))
    steps.install()
    try:
        scenario.work(store, copy)
    except PairsieveError:
        return CLEAN_ERROR
    except BaseException:
        traceback.print_exc()
        return UNCLEAN
    return SURVIVED if steps.left <= 0 < steps.chosen else CALM


def limit_files(most: int) -> None:
    """No file of this process may grow beyond so many bytes; Python ignores the signal and gets EFBIG."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


def _check(copy: pathlib.Path, scenario: Any, expected: str) -> None:
    """In another child: what was left is whole, and doing the work again gives what a calm run gives."""
    from ranking.audit import audit
    from ranking.store.blobs import Store

    store = Store.open(copy / "store")
    left = audit(store)
    assert left.ok, left.errors
    found = scenario.again(store, copy)
    assert found == expected, f"{found} is not {expected}"
    after = audit(store, deep=False)  # what was made again is what the calm run made, and that was looked at deeply
    assert after.ok, after.errors


def _case(base: pathlib.Path, name: str, how: str, n: int, error: int, expected: str) -> int:
    """One step: disturb, audit, do again. Returns how the disturbed work ended."""
    from fault_scenarios import SCENARIOS

    copy = base.parent / f"step-{n}"
    shutil.copytree(base, copy)
    child = os.fork()
    if child == 0:

        def kill() -> None:
            os.kill(os.getpid(), signal.SIGKILL)

        def fail() -> None:
            raise OSError(error, os.strerror(error))

        code = UNCLEAN
        try:
            if how == "limit":
                limit_files(LEAST << n)
            code = _work(copy, SCENARIOS[name], Steps(0 if how == "limit" else n, kill if how == "kill" else fail))
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if ended == UNCLEAN or (how == "kill" and ended not in (CALM, -signal.SIGKILL)):
        raise AssertionError(f"step {n} of {name} ended with {ended} (error {os.strerror(error)})")
    try:
        _check(copy, SCENARIOS[name], expected)
    except BaseException as flaw:
        raise AssertionError(f"after step {n} of {name} ({os.strerror(error)}, ended {ended}): {flaw}") from flaw
    shutil.rmtree(copy)
    return ended


def _script(folder: pathlib.Path, name: str, how: str, shift: int, every: int) -> None:
    from fault_scenarios import SCENARIOS

    from ranking.audit import audit
    from ranking.store.blobs import Store

    base = folder / f"{how}-{shift}" / "base"
    base.mkdir(parents=True)
    calm = base.parent / "calm"
    # Prepared and run in children, so that this process has no threads when it forks.
    _in_child(lambda: SCENARIOS[name].prepare(Store.open(base / "store"), base))
    shutil.copytree(base, calm)
    outcome = calm / "outcome"

    def run_calm() -> None:
        store = Store.open(calm / "store")
        SCENARIOS[name].work(store, calm)
        outcome.write_text(SCENARIOS[name].again(store, calm))
        assert audit(store).ok, audit(store).errors

    _in_child(run_calm)
    expected = outcome.read_text()
    if how == "together":
        for number in range(ROUNDS):
            _in_child(partial(_crowd, base, name, number, expected))
        return
    reports: dict[int, int] = {}
    running: dict[int, int] = {}
    n = 0
    while running or CALM not in reports.values():
        if CALM not in reports.values() and len(running) < AT_ONCE:
            n += every
            assert n < MOST, "the work never gets through"
            running[_begin(partial(_report, base, name, how, n, ERRNOS[(n + shift) % len(ERRNOS)], expected))] = n
        else:
            child, status = os.wait()
            _succeeded(status)
            step = running.pop(child)
            reports[step] = int((base.parent / f"report-{step}").read_text())
    first_calm = min(step for step, ended in reports.items() if ended == CALM)
    ended = [reports[step] for step in range(every, first_calm, every)]
    counts = {"steps": every * len(ended), "errors": ended.count(CLEAN_ERROR), "survived": ended.count(SURVIVED)}
    sys.stdout.write(json.dumps(counts) + "\n")


def _crowd(base: pathlib.Path, name: str, number: int, expected: str) -> None:
    from fault_scenarios import SCENARIOS

    from ranking.store.blobs import Store

    copy = base.parent / f"crowd-{number}"
    shutil.copytree(base, copy)
    start = time.time() + 0.1

    def work() -> None:
        time.sleep(max(0.0, start - time.time()))
        SCENARIOS[name].work(Store.open(copy / "store"), copy)

    children = [_begin(work) for _ in range(CROWD)]
    for child in children:
        _succeeded(os.waitpid(child, 0)[1])
    _check(copy, SCENARIOS[name], expected)


def _report(base: pathlib.Path, name: str, how: str, n: int, error: int, expected: str) -> None:
    (base.parent / f"report-{n}").write_text(str(_case(base, name, how, n, error, expected)))


def _in_child(work: Callable[[], object]) -> None:
    _succeeded(os.waitpid(_begin(work), 0)[1])


def _succeeded(status: int) -> None:
    if os.waitstatus_to_exitcode(status) != 0:
        sys.exit("a child failed; see above")


def _begin(work: Callable[[], object]) -> int:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    return child


if __name__ == "__main__":
    _script(pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
