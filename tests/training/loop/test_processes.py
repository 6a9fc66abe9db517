"""Two real processes over gloo train as one does."""

import json
import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from torch import Tensor
from torch.testing import assert_close
from train_in_process import work

ROOT = Path(__file__).parents[3]
COMMON = {"steps": 3, "warmup": 0, "learning_rate": 1e-4, "device": "cpu", "evaluation": None}
WORK: dict[str, dict[str, Any]] = {
    "dpo": {"config": {"method": {"beta": 100}, "ema": {"warmup": False, "decay": 0.5}}},
    "buckets": {"config": {"data": {"buckets": True}, "method": {"beta": 100}}, "material": {"tall": 5}},
    # In passes of two shapes, so that the processes have unequal numbers of pairs to tell each other of.
    "rpo": {"config": {"method": {"name": "rpo", "beta": 500}, "data": {"buckets": True}}, "material": {"tall": 5}},
    "lora": {"config": {"lora": {"rank": 2}, "method": {"beta": 100}}},
}
SHARDED: dict[str, dict[str, Any]] = {
    "sharded": {"config": {"method": {"beta": 100}}},
    "resharded": {"config": {"method": {"beta": 100}, "steps": 4}, "from": "sharded"},
}


@dataclass(frozen=True)
class Seen:
    """What one process saw of one work."""

    steps: list[dict[str, Any]]
    times: list[float]
    weights: dict[str, Tensor]


@pytest.fixture(scope="module")
def seen(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, int], Seen]:
    """By work and rank what two processes saw, each pass of 2 pairs, 2 passes a step, and under rank −1 what one saw
    with passes of 4."""
    folder = tmp_path_factory.mktemp("processes")
    found: dict[tuple[str, int], Seen] = {}
    lines = [{"name": name, "sharded": name in SHARDED} | _given(name, tiny_model, batch=2) for name in WORK | SHARDED]
    (folder / "work.jsonl").write_text("\n".join(map(json.dumps, lines)))
    _run_two(folder)
    for name in WORK | SHARDED:
        for rank in (0, 1):
            found[name, rank] = _read(folder / f"{name}-{rank}")
        work(folder, name, sharded=False, **_given(name, tiny_model, batch=4))
        found[name, -1] = _read(folder / f"{name}-0")
    return found


def _given(name: str, model: Path, *, batch: int) -> dict[str, Any]:
    given = (WORK | SHARDED)[name]
    return {
        "given": given | {"config": {"model": str(model), "batch": batch, "accumulate": 2} | COMMON | given["config"]}
    }


def _read(place: Path) -> Seen:
    return Seen(**json.loads(place.with_suffix(".json").read_text()), weights=load_file(f"{place}.safetensors"))


def _run_two(folder: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    helpers = ROOT / "tests" / "training"
    env = os.environ | {"PYTHONPATH": f"{ROOT}:{helpers}", "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1"}
    command = [sys.executable, "-W", "ignore", str(helpers / "train_in_process.py"), str(folder)]
    processes = []
    for rank in (0, 1):
        place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2, "MASTER_PORT": port}
        given = env | {key: str(value) for key, value in place.items()}
        processes.append(subprocess.Popen(command, env=given, cwd=folder, stderr=subprocess.PIPE, text=True))
    try:
        for process in processes:
            _, said = process.communicate(timeout=120)
            assert process.returncode == 0, said[-3000:]
    finally:
        for process in processes:
            process.kill()
            process.wait()


def close(one: Seen, other: Seen) -> None:
    for mine, theirs in zip(one.steps, other.steps, strict=True):
        for name in ("loss", "gradient_norm", "winner_error", "loser_error", "implicit_accuracy"):
            assert mine[name] == pytest.approx(theirs[name], rel=1e-4), name
        assert mine["pairs"] == theirs["pairs"] == 8
        assert mine["by_time"]["pairs"] == theirs["by_time"]["pairs"]
    for name, weight in one.weights.items():
        assert_close(weight, other.weights[name], atol=2e-6, rtol=1e-4)


def test_the_ranks_draw_different_times(seen: dict[tuple[str, int], Seen]) -> None:
    """training.md §6a: diffusers' scripts seed every rank alike, so that all draw the same timesteps and noise."""
    first, second = seen["dpo", 0].times, seen["dpo", 1].times
    assert len(first) == len(second) == 12
    assert not set(first) & set(second)
    assert {*first, *second} == {*seen["dpo", -1].times}


@pytest.mark.parametrize("name", list(WORK))
def test_two_processes_are_one_of_twice_the_batch(name: str, seen: dict[tuple[str, int], Seen]) -> None:
    one, other, alone = (seen[name, rank] for rank in (0, 1, -1))
    assert one.steps == other.steps
    assert all((one.weights[key] == other.weights[key]).all() for key in one.weights)
    close(one, alone)


@pytest.mark.parametrize("name", list(SHARDED))
def test_sharded_weights_are_trained_saved_and_loaded_as_whole_ones(
    name: str, seen: dict[tuple[str, int], Seen]
) -> None:
    close(seen[name, 0], seen[name, -1])
    assert seen["resharded", 0].steps[0]["step"] == 3
