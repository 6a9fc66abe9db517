"""`pairsieve train --processes 2` on the CPU, over gloo: told to stop, both put the state aside; one that dies ends the
other, which says so in one line."""

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from pickapic_factory import rows
from processes import Processes
from subsets import all_pairs
from tiny_models import save_sd

from ranking.checkpoints import list_checkpoints
from ranking.runs import list_runs
from ranking.store.blobs import Store
from training.watch.live import told


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    (tmp_path / "logs").mkdir()
    env = {
        "PAIRSIEVE_STORE": str(tmp_path / "store"),
        "PAIRSIEVE_CACHE": str(tmp_path / "cache"),
        "OMP_NUM_THREADS": "1",
    }
    started = Processes(tmp_path / "logs", env)
    yield started
    started.stop()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store.open(tmp_path / "store")
    all_pairs(store, tmp_path, rows(12))
    save_sd(tmp_path / "model")
    return store


def begun(processes: Processes, store: Store, folder: Path, *, steps: int) -> subprocess.Popen[bytes]:
    """A training by two processes that has taken a step."""
    settings = [f"model={folder / 'model'}", f"steps={steps}", "batch=2", "device=cpu", "evaluation=null"]
    words = [word for each in settings for word in ("--set", each)]
    first = processes.start("train", "--subset", "all", "--processes", "2", *words)
    processes.wait_for("a step", lambda: any(told(store, run.run_id) for run in list_runs(store)), every=0.05)
    return first


def errors(processes: Processes) -> list[str]:
    return [line for line in processes.logs().splitlines() if line.startswith("error:") or "Traceback" in line]


def test_two_processes_that_are_told_to_stop_put_one_state_aside(
    processes: Processes, store: Store, tmp_path: Path
) -> None:
    first = begun(processes, store, tmp_path, steps=1_000_000)
    helpers = psutil.Process(first.pid).children()
    first.send_signal(signal.SIGINT)
    assert first.wait(120) == 130, processes.logs()
    (run,) = list_runs(store)
    (checkpoint,) = list_checkpoints(store, run.run_id)
    (line,) = errors(processes)
    assert f"stopped before step {checkpoint.step} of 1000000, and its state is put aside" in line
    assert checkpoint.facts["made with"]["processes"] == 2
    assert helpers and not any(helper.is_running() for helper in helpers)


def test_a_process_that_dies_ends_the_training_in_one_line(processes: Processes, store: Store, tmp_path: Path) -> None:
    first = begun(processes, store, tmp_path, steps=1_000_000)
    (helper,) = psutil.Process(first.pid).children()
    helper.kill()
    assert first.wait(120) == 1, processes.logs()
    (line,) = errors(processes)
    assert "process 1 ended with status -9" in line
