"""The supervisor behind `up`: children run, come back, and are gone with it whatever happens to it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

CHILD = """
import os, subprocess, sys, time
grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print("up", os.getpid(), grandchild.pid, flush=True)
time.sleep(600)
"""

STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
)

PARENT = """
import sys
from service.supervisor import Program, Supervisor
def write(name, line):
    print(f"{{name}} | {{line}}", flush=True)
programs = [Program(name, [sys.executable, "-c", code], {{"MARK": name}}) for name, code in {children!r}.items()]
Supervisor(programs, write, patience=2.0).run()
print("ended", flush=True)
"""

Start = Callable[[dict[str, str]], subprocess.Popen[str]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a supervisor of {name: code} in a process of its own."""
    started: list[subprocess.Popen[str]] = []

    def _start(children: dict[str, str]) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", PARENT.format(children=children)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, process_group=0)
        started.append(process)
        return process

    yield _start
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def line_with(process: subprocess.Popen[str], text: str) -> str:
    """The next line the process prints that has `text` in it."""
    assert process.stdout is not None
    for line in process.stdout:
        if text in line:
            return line.strip()
    raise AssertionError(f"it ended without saying {text!r}")


def family(process: subprocess.Popen[str], count: int) -> list[psutil.Process]:
    """The `count` descendants of a process, when they are all there."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        found = psutil.Process(process.pid).children(recursive=True)
        if len(found) == count:
            return found
        time.sleep(0.05)
    raise AssertionError(f"not {count} descendants")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_one_signal_ends_everything_below_it(start: Start, number: int) -> None:
    parent = start({"one": CHILD, "two": CHILD})
    line_with(parent, "up"), line_with(parent, "up")
    everyone = family(parent, 4)
    parent.send_signal(number)
    line_with(parent, "ended")
    assert parent.wait(30) == 0
    assert psutil.wait_procs(everyone, timeout=10)[1] == []


def test_nothing_outlives_a_supervisor_that_is_killed(start: Start) -> None:
    if sys.platform != "linux":
        pytest.skip("only Linux can tie a process to its parent")
    parent = start({"one": "import time; print('up', flush=True); time.sleep(600)"})
    line_with(parent, "up")
    everyone = family(parent, 1)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    assert psutil.wait_procs(everyone, timeout=10)[1] == []


def test_a_child_that_dies_is_started_again_and_what_it_left_behind_is_ended(start: Start) -> None:
    parent = start({"one": CHILD})
    child, grandchild = map(int, line_with(parent, "up").split()[-2:])
    left_behind = psutil.Process(grandchild)
    os.kill(child, signal.SIGKILL)
    assert "ended (signal 9), starts again in 1 s" in line_with(parent, "ended (")
    assert int(line_with(parent, "up").split()[-2]) != child
    assert psutil.wait_procs([left_behind], timeout=10)[1] == []


def test_a_child_that_keeps_dying_is_given_ever_longer_pauses(start: Start) -> None:
    parent = start({"one": "raise SystemExit(3)"})
    pauses = [line_with(parent, "exit code 3").split()[-2] for _ in range(3)]
    assert pauses == ["1", "2", "4"]


def test_a_child_that_does_not_listen_is_killed_when_patience_ends(start: Start) -> None:
    parent = start({"deaf": STUBBORN})
    line_with(parent, "up")
    everyone = family(parent, 1)
    parent.terminate()
    assert line_with(parent, "deaf |") == "deaf | has up to 2 s to end; Ctrl-C again ends it now"
    line_with(parent, "ended")
    assert parent.wait(30) == 0
    assert psutil.wait_procs(everyone, timeout=10)[1] == []


def test_lines_carry_the_name_of_their_program_and_its_environment_reaches_it(start: Start) -> None:
    code = (
        "import os, time; print(os.environ['MARK'], end='\\n\\n'); print('last without newline', end=''); time.sleep(1)"
    )
    parent = start({"one": code})
    assert line_with(parent, "one |") == "one | one"
    assert line_with(parent, "last") == "one | last without newline"


def test_up_says_in_one_line_that_its_port_is_taken(tmp_path: Path) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-m", "service.cli", "--store", str(tmp_path / "s"), "up", "--port", str(port)],
            capture_output=True,
            text=True,
            timeout=120,
        )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines() == [
        f"error: port {port} of 127.0.0.1 cannot be had (Address already in use); "
        "end what uses it, or choose another with --port"
    ]
