"""A run that is cut off goes on from its last checkpoint as if nothing had happened, and never from one that is not
its own."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pickapic_factory import rows
from safetensors.torch import load_file
from subsets import all_pairs

from ranking.checkpoints import list_checkpoints
from ranking.errors import PairsieveError, StoreError
from ranking.runs import plan_run, run_attempts, run_state
from ranking.store import folder as folder_blobs
from ranking.store.blobs import Store
from ranking.subsets.catalog import Subset
from training import trainer
from training.config import TrainConfig
from training.loop.stops import StoppedError
from training.trainer import train

STEPS = 6
CLOCKS = ("seconds", "pairs_per_second", "memory")


def planned(store: Store, subset: Subset, model: Path, **changes: Any) -> str:
    values: dict[str, Any] = {
        "steps": STEPS,
        "batch": 2,
        "accumulate": 2,
        "warmup": 2,
        "schedule": "cosine",
        "learning_rate": 1e-3,
        "ema": {"decay": 0.9},
        "device": "cpu",
        "evaluation": None,
    }
    config = TrainConfig(model=str(model), **(values | changes))
    return plan_run(store, subset.ref, config.model_dump(mode="json")).run_id


def after(count: int) -> Callable[[], bool]:
    """True from the count-th question on; one is asked before each forward pass and one after each step."""
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked > count

    return stop


def lines(store: Store, output: str) -> list[dict[str, Any]]:
    """What was measured, without the clocks."""
    found = [json.loads(line) for line in store.get(f"{output}/metrics.jsonl").splitlines()]
    return [{name: value for name, value in line.items() if name not in CLOCKS} for line in found]


def weights(store: Store, output: str) -> dict[str, torch.Tensor]:
    (path,) = [store.local(key) for key in store.list(output) if "unet" in key and key.endswith(".safetensors")]
    return load_file(path)


@pytest.fixture(scope="module")
def calm(
    tmp_path_factory: pytest.TempPathFactory, tiny_model: Path
) -> tuple[list[dict[str, Any]], dict[str, torch.Tensor]]:
    """Lines and weights of the run that nothing disturbed, in a store of its own."""
    folder = tmp_path_factory.mktemp("calm")
    store = Store.open(folder / "store")
    subset = all_pairs(store, folder, rows(12))
    result = train(store, planned(store, subset, tiny_model))
    return lines(store, result.output), weights(store, result.output)


def test_a_run_that_is_stopped_twice_is_the_run_that_nothing_disturbed(
    store: Store, subset: Subset, tiny_model: Path, calm: tuple[list[dict[str, Any]], dict[str, torch.Tensor]]
) -> None:
    run = planned(store, subset, tiny_model)
    with pytest.raises(StoppedError, match=r"before step 2 of 6"):
        train(store, run, stop=after(2 * 3 - 1))  # after the second step
    assert run_state(store, run) != "done"
    with pytest.raises(StoppedError, match=r"before step 4 of 6"):
        train(store, run, stop=after(2 * 3 + 1))  # in the middle of the fifth step
    assert [each.step for each in list_checkpoints(store, run)] == [4]
    said: list[str] = []
    result = train(store, run, say=said.append)
    assert any("step 4" in each for each in said)
    assert (result.steps, result.resumed) == (STEPS, 4)
    calm_lines, calm_weights = calm
    assert lines(store, result.output) == calm_lines
    assert [line["step"] for line in calm_lines] == list(range(STEPS))
    mine = weights(store, result.output)
    assert all(torch.equal(mine[name], value) for name, value in calm_weights.items())
    assert list_checkpoints(store, run) == [], "a run that is done needs none"


def test_checkpoints_come_every_so_often_and_only_the_latest_stay(
    store: Store, subset: Subset, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put: list[int] = []
    real = trainer.Checkpoints.put

    def noting(self: Any, training: Any, watching: Any) -> None:
        real(self, training, watching)
        put.append(training.step)
        assert [each.step for each in list_checkpoints(store, run)] == put[-2:]

    monkeypatch.setattr(trainer.Checkpoints, "put", noting)
    run = planned(store, subset, tiny_model, checkpoints={"every": 2, "minutes": None, "keep": 2})
    train(store, run)
    assert put == [2, 4]
    put.clear()
    run = planned(store, subset, tiny_model, checkpoints={"every": None, "minutes": 1e-9, "keep": 2})
    train(store, run)
    assert put == [1, 2, 3, 4, 5]


def stopped(store: Store, run: str) -> None:
    with pytest.raises(StoppedError):
        train(store, run, stop=after(5))


def test_a_run_may_begin_again_on_purpose(store: Store, subset: Subset, tiny_model: Path) -> None:
    run = planned(store, subset, tiny_model)
    stopped(store, run)
    assert train(store, run, from_scratch=True).resumed == 0


def test_another_base_model_under_the_same_name_is_refused(
    store: Store, subset: Subset, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = planned(store, subset, tiny_model)
    stopped(store, run)
    facts = trainer.facts_of
    monkeypatch.setattr(trainer, "facts_of", lambda *args, **more: facts(*args, **more) | {"model": "other"})
    with pytest.raises(PairsieveError, match="the model's weights are not what they were") as caught:
        train(store, run)
    assert "--from-scratch" in caught.value.hint


def test_other_packages_are_told_and_no_reason_to_stop(
    store: Store, subset: Subset, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = planned(store, subset, tiny_model)
    stopped(store, run)
    facts = trainer.facts_of

    def other(*args: Any, **more: Any) -> dict[str, Any]:
        found = facts(*args, **more)
        return found | {"made with": found["made with"] | {"torch": "9.9"}}

    monkeypatch.setattr(trainer, "facts_of", other)
    said: list[str] = []
    train(store, run, say=said.append)
    assert any("torch" in each and "9.9" in each for each in said)


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before_it(
    store: Store, subset: Subset, tiny_model: Path, calm: tuple[list[dict[str, Any]], dict[str, torch.Tensor]]
) -> None:
    two = {"every": 1, "minutes": None, "keep": 2}
    run = planned(store, subset, tiny_model, checkpoints=two)
    stopped(store, run)
    older, latest = list_checkpoints(store, run)
    state = next(file for file in latest.files if file.name.endswith(".safetensors"))
    path = store.local(latest.key(state))
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    said: list[str] = []
    result = train(store, run, say=said.append)
    assert result.resumed == older.step
    assert any("passed over" in each for each in said)
    assert lines(store, result.output) == calm[0]


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_its_last_checkpoint(
    store: Store, subset: Subset, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = planned(store, subset, tiny_model, checkpoints={"every": 2, "minutes": None})
    judge = trainer.Training._judge

    def broken(self: Any, step: Any) -> None:
        if step.step == 3:
            object.__setattr__(step, "loss", math.nan)
        judge(self, step)

    monkeypatch.setattr(trainer.Training, "_judge", broken)
    with pytest.raises(PairsieveError, match=r"nan.* at step 3; its checkpoint at step 2 is kept") as caught:
        train(store, run)
    assert caught.value.code == "training-diverged"
    assert "\n" not in str(caught.value)
    assert [each.step for each in list_checkpoints(store, run)] == [2]


def test_a_disk_that_is_full_stops_the_run_and_keeps_its_last_checkpoint(
    store: Store, subset: Subset, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = planned(store, subset, tiny_model, checkpoints={"every": 2, "minutes": None})
    create = folder_blobs.FolderBlobs.create

    def full(self: Any, key: str, data: Any) -> bool:
        if "checkpoints/0000000004" in key:
            raise OSError(28, "No space left on device")
        return create(self, key, data)

    with monkeypatch.context() as patch:
        patch.setattr(folder_blobs.FolderBlobs, "create", full)
        with pytest.raises(PairsieveError, match=r"No space left.*its checkpoint at step 2 is kept") as caught:
            train(store, run)
    assert caught.value.code == "store-unusable", "a worker tries such a run again"
    assert not list(store.tmp().iterdir())
    assert train(store, run).resumed == 2


def test_no_room_for_the_model_costs_no_step_that_was_put_aside(
    store: Store, subset: Subset, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = planned(store, subset, tiny_model, checkpoints={"every": 5, "minutes": None})

    def full(*_: object) -> None:
        raise StoreError("no room", code="store-unusable")

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "_place", full)
        with pytest.raises(StoreError):
            train(store, run)
    assert not list(store.tmp().iterdir())
    assert train(store, run).resumed == 5
    assert len(run_attempts(store, run)) == 2
