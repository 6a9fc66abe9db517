"""A worker that is told to stop while it trains, gently or at once: the state is put aside, the run is let go for the
next worker, and the try does not count."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pickapic_factory import rows
from processes import Processes
from subsets import all_pairs
from tiny_models import save_sd

from ranking.checkpoints import list_checkpoints
from ranking.runs import plan_run, run_death
from ranking.settings import load_settings
from ranking.store.blobs import Store
from training.config import TrainConfig
from training.watch.live import told
from workers.attempts import counted_run_attempts, run_in_hand
from workers.due import due_runs
from workers.publish import Publisher


@pytest.fixture
def processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Processes]:
    env = {
        "PAIRSIEVE_STORE": str(tmp_path / "store"),
        "PAIRSIEVE_CACHE": str(tmp_path / "cache"),
        "OMP_NUM_THREADS": "1",
    }
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "logs").mkdir()
    started = Processes(tmp_path / "logs", env)
    yield started
    started.stop()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGQUIT])
def test_a_worker_told_to_stop_puts_its_training_aside_for_the_next(
    processes: Processes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: signal.Signals
) -> None:
    store = Store.open(tmp_path / "store")
    subset = all_pairs(store, tmp_path, rows(12))
    model = save_sd(tmp_path / "model")
    config = TrainConfig(model=str(model), steps=1_000_000, batch=2, device="cpu", evaluation=None)
    run = plan_run(store, subset.ref, config.model_dump(mode="json")).run_id
    assert Publisher(store).runs([run]) == 1
    worker = processes.start("worker", "--queues", "train")
    processes.wait_for("a step", lambda: told(store, run))
    settings = load_settings()
    assert run_in_hand(store, run, lease_seconds=settings.lease_seconds) is not None
    worker.send_signal(how)
    worker.wait(120)
    (checkpoint,) = list_checkpoints(store, run)
    assert checkpoint.step > 0, processes.logs()
    assert "its state is put aside" in processes.logs()
    assert (counted_run_attempts(store, run), run_death(store, run)) == (0, None)
    # As another machine sees it, which cannot know that the process is gone.
    monkeypatch.setattr("workers.attempts.is_gone", lambda _: False)
    assert due_runs(store, settings, queue_empty=True).publish == (run,)


def test_a_worker_ends_once_its_pool_has_though_a_lock_is_never_let_go(tmp_path: Path) -> None:
    script = """
import subprocess, threading
from workers import stopping

stopping._GRACE = 0.2
subprocess.Popen(["sleep", "1"])
stopping._stop(exitcode=3)
threading.Event().wait()  # as billiard does for a semaphore that a process was killed with
"""
    began = time.monotonic()
    env = os.environ | {"PAIRSIEVE_CACHE": str(tmp_path)}
    ended = subprocess.run([sys.executable, "-c", script], env=env, timeout=60)
    assert ended.returncode == 3 and time.monotonic() - began >= 1
    assert not list((tmp_path / "stopping").iterdir())
