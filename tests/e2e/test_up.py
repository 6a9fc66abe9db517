"""`pairsieve up`: one command runs everything on one machine without Redis, and one Ctrl-C ends it.

The schedule of a day runs on a clock that makes a day of two seconds.
"""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from pickapic_factory import jpeg, rows, with_raw, write
from processes import Processes

from ranking.plan import list_plans, open_slices
from ranking.runs import list_runs, run_result, run_state
from ranking.store.blobs import Store
from ranking.subsets.catalog import list_subsets
from workers.schedule import tick_state

RECIPE = {
    "name": "best",
    "dataset": "pets",
    "metric": {"name": "margin", "scorer": "technical"},
    "take": {"percent": 50.0},
}
CONFIG = {"steps": 1, "batch": 2, "warmup": 0, "device": "cpu", "evaluation": None}


@pytest.fixture
def place(tmp_path: Path) -> Iterator[tuple[Store, Processes]]:
    env = {
        "PAIRSIEVE_STORE": str(tmp_path / "store"),
        "PAIRSIEVE_CLOCK_SPEED": str(86_400 / 2),
        "PAIRSIEVE_RECONCILE_SECONDS": "1",
    }
    (tmp_path / "logs").mkdir()
    processes = Processes(tmp_path / "logs", env)
    yield Store.open(env["PAIRSIEVE_STORE"]), processes
    processes.stop()


def bring(folder: Path, part: int) -> None:
    """Put another file of pairs where the schedule looks, whole at once."""
    judged = [
        with_raw(row, jpg_0=jpeg(str(row.image_0), 32), jpg_1=jpeg(str(row.image_1), 32))
        for row in rows(9, first=9 * part)
    ]
    write(folder / "unfinished", judged).rename(folder / f"part-{part}.parquet")


def everyone_below(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


@pytest.mark.timeout(900)  # two trainings, on a machine that may be busy
def test_a_daily_schedule_scores_what_is_new_and_trains_only_when_the_subset_changed(
    place: tuple[Store, Processes], tmp_path: Path
) -> None:
    store, processes = place
    source = tmp_path / "source"
    source.mkdir()
    bring(source, 0)
    (tmp_path / "recipe.json").write_text(json.dumps(RECIPE))
    (tmp_path / "config.yaml").write_text(json.dumps(CONFIG))
    processes.run(
        *["schedule", "add", "nightly", "--every", "1d", "--dataset", "pets", "--source", str(source)],
        *["--scorers", "technical", "--recipe", str(tmp_path / "recipe.json")],
        *["--train", str(tmp_path / "config.yaml")],
    )
    up = processes.start("up", "--port", "0")
    found = processes.wait_for("address", lambda: re.search(r"Pairsieve is at (http://\S+/)", processes.logs()))
    with urllib.request.urlopen(f"{found[1]}livez", timeout=30) as answer:
        assert answer.status == 200

    def trained() -> list[str]:
        return [run.run_id for run in list_runs(store) if run_state(store, run.run_id) == "done"]

    def ticks_done() -> int:
        state = tick_state(store, "nightly")
        return 0 if state is None else state.number - (state.state != "done")

    processes.wait_for("training", trained)
    (first,) = list_runs(store)
    assert first.subset == list_subsets(store)[-1].ref and run_result(store, first.run_id)["steps"] == 1

    ticks = ticks_done()
    processes.wait_for("two more ticks", lambda: ticks_done() >= ticks + 2)
    assert list_runs(store) == [first] and len(list_subsets(store)) == 1

    bring(source, 1)
    processes.wait_for("second training", lambda: len(trained()) == 2)
    assert not any(open_slices(store, plan) for plan in list_plans(store))
    ticks = ticks_done()
    processes.wait_for("another tick", lambda: ticks_done() >= ticks + 1)
    assert len(list_runs(store)) == len(list_subsets(store)) == 2

    listed = json.loads(processes.run("schedule", "list", "--json"))
    assert (listed[0]["name"], listed[0]["trains"], listed[0]["subset"]) == ("nightly", True, "best")

    everyone = everyone_below(up)
    assert len(everyone) >= 4
    up.send_signal(signal.SIGINT)
    assert up.wait(90) == 0, processes.logs()
    assert psutil.wait_procs(everyone, timeout=10)[1] == []
    assert "Traceback" not in processes.logs(), processes.logs()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can tie a process to its parent")
def test_a_killed_worker_comes_back_and_nothing_outlives_an_up_that_is_killed(
    place: tuple[Store, Processes],
) -> None:
    _, processes = place
    up = processes.start("up", "--port", "0")
    processes.wait_for("ready worker", lambda: " ready." in processes.logs())
    (worker,) = [child for child in psutil.Process(up.pid).children() if "worker" in child.cmdline()]
    worker.kill()
    processes.wait_for("worker again", lambda: processes.logs().count(" ready.") == 2)
    assert "worker | ended (signal 9), starts again in 1 s" in processes.logs()
    # API, worker and its child, clock; billiard's semaphore tracker too.
    everyone = processes.wait_for("family", lambda: len(everyone_below(up)) >= 4 and everyone_below(up))
    os.kill(up.pid, signal.SIGKILL)
    up.wait()
    assert psutil.wait_procs(everyone, timeout=20)[1] == []
