"""A training through the real command line that is told to stop, goes on, is killed, and goes on to its end: nothing of
it is lost, and it is bit for bit the training that nobody disturbed."""

import json
import re
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from pickapic_factory import rows
from processes import Processes
from safetensors.torch import load_file
from subsets import all_pairs
from tiny_models import save_sd

from ranking.checkpoints import list_checkpoints
from ranking.runs import list_runs, plan_run, run_attempts
from ranking.store.blobs import Store
from training.config import load_config
from training.trainer import train

STEPS = 40
CLOCKS = ("seconds", "pairs_per_second", "memory")


def measured(store: Store, output: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in store.get(f"{output}/metrics.jsonl").splitlines()]
    return [{name: value for name, value in line.items() if name not in CLOCKS} for line in lines]


def weights(store: Store, output: str) -> dict[str, torch.Tensor]:
    (key,) = [key for key in store.list(output) if "/unet/" in key and key.endswith(".safetensors")]
    return load_file(store.local(key))


@pytest.mark.timeout(900)  # two processes that import all of diffusers, and wait for their turn on a busy machine
def test_a_training_that_is_stopped_and_then_killed_ends_as_if_nothing_had_happened(
    processes: Processes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = save_sd(tmp_path / "model")
    store = Store.open(tmp_path / "store")
    subset = all_pairs(store, tmp_path, rows(12))
    settings = [
        f"model={model}",
        f"steps={STEPS}",
        "batch=2",
        "accumulate=2",
        "learning_rate=1e-3",
        "schedule=cosine",
        "data.flip=true",
        "checkpoints.every=3",
        "device=cpu",
        "evaluation=null",
    ]
    words = ["train", "--subset", subset.name, *(word for each in settings for word in ("--set", each))]

    def reached(least: int) -> int:
        found = [each.step for run in list_runs(store) for each in list_checkpoints(store, run.run_id)]
        return max((step for step in found if step >= least), default=0)

    first = processes.start(*words)
    processes.wait_for("a checkpoint", lambda: reached(3), every=0.02)
    first.send_signal(signal.SIGTERM)
    assert first.wait(240) == 143, processes.logs()
    told = re.search(r"stopped before step (\d+) of 40, and its state is put aside", processes.logs())
    assert told, processes.logs()
    stopped = int(told[1])
    assert reached(0) == stopped < STEPS

    second = processes.start(*words)
    processes.wait_for("a later checkpoint", lambda: reached(stopped + 3), every=0.02)
    second.send_signal(signal.SIGKILL)
    second.wait(60)
    assert f"goes on from its checkpoint at step {stopped}" in processes.logs()

    assert "kernels-community" not in processes.logs(), "what bitsandbytes says when diffusers imports it"

    (run,) = list_runs(store)
    monkeypatch.setenv("PAIRSIEVE_CACHE", str(tmp_path / "cache"))
    result = train(store, run.run_id)
    assert result.resumed >= stopped + 3
    assert len(run_attempts(store, run.run_id)) == 3

    monkeypatch.setenv("PAIRSIEVE_CACHE", str(tmp_path / "other-cache"))
    calm = Store.open(tmp_path / "calm")
    (tmp_path / "again").mkdir()
    undisturbed = all_pairs(calm, tmp_path / "again", rows(12))
    plan = plan_run(calm, undisturbed.ref, load_config(None, settings).model_dump(mode="json"))
    expected = train(calm, plan.run_id)
    lines = measured(calm, expected.output)
    assert [line["step"] for line in lines] == list(range(STEPS))
    assert measured(store, result.output) == lines
    mine = weights(store, result.output)
    assert all(torch.equal(mine[name], value) for name, value in weights(calm, expected.output).items())
