"""Configs that must give the same trajectory, run through the real command line on a tiny model."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from command_line import pairsieve
from pickapic_factory import rows
from processes import ROOT
from safetensors.torch import load_file
from subsets import all_pairs
from tiny_models import save_sd
from torch import Tensor
from torch.testing import assert_close

from ranking.store.blobs import Store

CLOCKS = ("seconds", "pairs_per_second", "memory")
SETTINGS: dict[str, Any] = {
    "steps": 3,
    "batch": 4,
    "warmup": 2,
    "learning_rate": 1e-4,
    "device": "cpu",
    "method": {"name": "dpo", "beta": 100},
    "evaluation": None,
}


@dataclass(frozen=True)
class Trajectory:
    """What a run measured at each step, and what it trained."""

    steps: list[dict[str, Any]]
    weights: dict[str, Tensor]


@dataclass(frozen=True)
class Trainer:
    """Trains the one subset of a store with the settings, some of them changed."""

    store: Store
    model: Path

    def words(self, changes: dict[str, Any]) -> list[str]:
        settings = SETTINGS | {"model": str(self.model)} | changes
        named = [word for name, value in settings.items() for word in ("--set", f"{name}={json.dumps(value)}")]
        return ["train", "--subset", "all@latest", "--json", *named]

    def __call__(self, **changes: Any) -> Trajectory:
        done = pairsieve(*self.words(changes))
        assert done.status == 0, done.err
        return self.read(done.json())

    def read(self, said: dict[str, Any]) -> Trajectory:
        output = said["result"]["output"]
        lines = [json.loads(line) for line in self.store.get(f"{output}/metrics.jsonl").splitlines()]
        (weights,) = [key for key in self.store.list(output) if "unet" in key and key.endswith(".safetensors")]
        return Trajectory(
            [{name: value for name, value in line.items() if name not in CLOCKS} for line in lines],
            load_file(self.store.local(weights)),
        )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Trainer:
    folder = tmp_path_factory.mktemp("invariant")
    store = Store.open(folder / "store")
    all_pairs(store, folder, rows(12))
    return Trainer(store, save_sd(folder / "model"))


@pytest.fixture
def train(place: Trainer, monkeypatch: pytest.MonkeyPatch) -> Trainer:
    monkeypatch.setenv("PAIRSIEVE_STORE", place.store.uri)
    return place


@pytest.fixture(scope="module")
def whole(place: Trainer) -> Iterator[Trajectory]:
    """The run that others are compared with: one forward pass of eight pairs a step."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PAIRSIEVE_STORE", place.store.uri)
        yield place(batch=8)


def close(one: Trajectory, other: Trajectory) -> None:
    """Equal up to the order of floating-point sums."""
    assert len(one.steps) == len(other.steps) == 3
    for mine, theirs in zip(one.steps, other.steps, strict=True):
        assert set(mine) == set(theirs)
        for name in ("loss", "gradient_norm", "winner_error", "loser_error", "learning_rate"):
            assert mine[name] == pytest.approx(theirs[name], rel=1e-4), name
        assert mine["by_time"]["pairs"] == theirs["by_time"]["pairs"]
    for name, weight in one.weights.items():
        assert_close(weight, other.weights[name], atol=2e-6, rtol=1e-4)


def test_eight_accumulated_passes_of_one_pair_are_one_of_eight(train: Trainer, whole: Trajectory) -> None:
    close(train(batch=1, accumulate=8), whole)


def test_cached_latents_and_prompts_are_those_that_are_computed_at_each_step(train: Trainer, whole: Trajectory) -> None:
    """Caches keep half precision, so what is compared is rounded to that."""
    close(train(batch=8, **{"cache.latents": False, "cache.prompts": False}), whole)


def test_two_processes_are_one_of_twice_the_batch(train: Trainer, whole: Trajectory, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "service.cli", *train.words({"batch": 4}), "--processes", "2"]
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    close(train.read(json.loads(done.stdout)), whole)


def test_fixed_draws_with_cached_reference_errors_are_fresh_ones_until_they_come_again(
    train: Trainer, whole: Trajectory
) -> None:
    """Eight pairs in steps of eight: three steps are three epochs, as many as there are draws."""
    close(train(batch=8, **{"cache.reference_draws": 3}), whole)
