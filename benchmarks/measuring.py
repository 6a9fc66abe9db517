"""Runs a piece of work in a fresh process and says what it took: seconds of wall time and of processor time, and the
most memory it held at once."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Cost:
    """Seconds by the clock, seconds on processors (children included) and peak bytes of memory: the process's own
    peak (`own_bytes`) and, added to it, the largest of its children's, at the least what the process held when it
    started one."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int
    own_bytes: int
    result: Any = None

    @property
    def peak(self) -> str:
        """The peak in words."""
        return f"{self.peak_bytes / 1e9:.2f} GB"


def cost_of(module: str, *arguments: object) -> Cost:
    """The cost of `module`'s function `work(*arguments)`, run alone in a new process. Its arguments and what it
    returns are JSON."""
    call = [sys.executable, "-m", "benchmarks.measuring", module, json.dumps(arguments, default=str)]
    ended = subprocess.run(call, check=True, stdout=subprocess.PIPE, text=True)
    return Cost(**json.loads(ended.stdout.splitlines()[-1]))


def measured(work: Callable[..., Any], arguments: list[Any]) -> Cost:
    """Run `work` here and now."""
    before = _cpu()
    started = time.perf_counter()
    result = work(*arguments)
    seconds = time.perf_counter() - started
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    own = _own_peak()
    return Cost(seconds, _cpu() - before, 1024 * (own + children), 1024 * own, result)


def _own_peak() -> int:
    """Kilobytes. Not ru_maxrss, which begins with what the parent held when it started this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _cpu() -> float:
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in usage)


if __name__ == "__main__":
    from importlib import import_module

    found = measured(import_module(sys.argv[1]).work, json.loads(sys.argv[2]))
    sys.stdout.write(json.dumps(asdict(found)) + "\n")
