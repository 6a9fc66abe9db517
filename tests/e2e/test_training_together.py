"""`pairsieve train --processes 2` on the CPU, over gloo: told to stop, both put the state aside; one that dies ends the
other, which says so in one line."""

import signal
import subprocess
from pathlib import Path
from typing import Any

import psutil
import pytest
from command_line import pairsieve
from pickapic_factory import rows
from processes import Processes
from subsets import all_pairs
from tiny_models import save_sd

from ranking.checkpoints import list_checkpoints
from ranking.runs import finish_run, list_runs, plan_run, run_state
from ranking.store.blobs import Store
from training import trainer
from training.config import load_config
from training.watch.live import told


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store.open(tmp_path / "store")
    all_pairs(store, tmp_path, rows(12))
    save_sd(tmp_path / "model")
    return store


def settings(folder: Path, *, steps: int) -> list[str]:
    return [f"model={folder / 'model'}", f"steps={steps}", "batch=2", "device=cpu", "evaluation=null"]


def command(folder: Path, *, steps: int) -> list[str]:
    return ["train", "--subset", "all", *(word for each in settings(folder, steps=steps) for word in ("--set", each))]


def begun(processes: Processes, store: Store, folder: Path, *, steps: int) -> subprocess.Popen[bytes]:
    """A training by two processes that has taken a step."""
    first = processes.start(*command(folder, steps=steps), "--processes", "2")
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
    assert run_state(store, run.run_id) == "planned", "nobody is told that it is running still"
    assert helpers and not any(helper.is_running() for helper in helpers)


def test_a_process_that_dies_ends_the_training_in_one_line(processes: Processes, store: Store, tmp_path: Path) -> None:
    first = begun(processes, store, tmp_path, steps=1_000_000)
    (helper,) = psutil.Process(first.pid).children()
    helper.kill()
    assert first.wait(120) == 1, processes.logs()
    (line,) = errors(processes)
    assert "process 1 ended with status -9" in line


def test_a_helper_plans_nothing_and_waits_for_nobody_where_the_run_is_done(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As torchrun and `accelerate launch` start it; the first process, which finds the run done, never joins it."""
    for name, value in {"PAIRSIEVE_STORE": store.uri, "WORLD_SIZE": "2", "RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    followed: list[str] = []

    def follow(_: Store, run_id: str, **__: Any) -> None:
        followed.append(run_id)

    monkeypatch.setattr(trainer, "follow", follow)
    words = command(tmp_path, steps=5)
    assert pairsieve(*words).status == 0
    assert len(followed) == 1 and not list_runs(store)

    config = load_config(None, [*settings(tmp_path, steps=5), "processes=2"])
    run = plan_run(store, "all", config.model_dump(mode="json"))
    assert followed == [run.run_id]
    finish_run(store, run.run_id, {})
    shell = pairsieve(*words)
    assert (shell.status, shell.out, shell.err) == (0, "", "")
    assert len(followed) == 1
