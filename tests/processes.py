"""Starts workers and clocks as a user does, ends them by their ids, and waits for what they do."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import psutil

ROOT = Path(__file__).parents[1]
T = TypeVar("T")


class Processes:
    """What a test started, with a log file for each; `stop` ends all of it, children included."""

    def __init__(self, folder: Path, env: Mapping[str, str]) -> None:
        self._folder = folder
        self._env = {**os.environ, **env}
        self._started: list[subprocess.Popen[bytes]] = []

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        """Run one command line of pairsieve in its own process group."""
        log = self._folder / f"{len(self._started)}-{words[0]}.log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "service.cli", *words],
                cwd=ROOT,
                env=self._env,
                stdout=file,
                stderr=subprocess.STDOUT,
                process_group=0,
            )
        self._started.append(process)
        return process

    def run(self, *words: str) -> str:
        """Run one command line to its end, which must be a good one; what it wrote on standard output."""
        command = [sys.executable, "-m", "service.cli", *words]
        done = subprocess.run(command, cwd=ROOT, env=self._env, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def logs(self) -> str:
        """Everything they said, for the message of a failed test."""
        return "\n".join(f"--- {path.name}\n{path.read_text()}" for path in sorted(self._folder.glob("*.log")))

    def wait_for(self, what: str, look: Callable[[], T], *, timeout: float = 240, every: float = 0.2) -> T:
        """What `look` gives as soon as it is true."""
        end = time.monotonic() + timeout
        while not (found := look()):
            assert time.monotonic() < end, f"no {what} within {timeout} s\n{self.logs()}"
            time.sleep(every)
        return found

    def stop(self) -> None:
        """End all of it now."""
        everyone = []
        for process in self._started:
            if psutil.pid_exists(process.pid):
                everyone += psutil.Process(process.pid).children(recursive=True)
            process.kill()
            process.wait()
        psutil.wait_procs(everyone, timeout=10)
