"""A run from plan to marker, on a model of a few thousand weights."""

import math
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from ranking.errors import PairsieveError
from ranking.runs import plan_run, run_attempts, run_state
from ranking.store.blobs import Store
from ranking.subsets.catalog import Subset
from training import trainer
from training.caches.provide import load_material
from training.config import TrainConfig
from training.data.buckets import square
from training.data.framing import Framing
from training.data.material import Material
from training.data.pairs import from_store
from training.data.rows import PairRows
from training.loop.training import Training
from training.models.base import DiffusionModel
from training.models.load import load_model
from training.trainer import train
from training.watch.live import told
from training.watch.meter import Step


def config_of(model: Path, **changes: Any) -> TrainConfig:
    values = {"steps": 3, "batch": 4, "warmup": 0, "learning_rate": 1e-3, "device": "cpu", "evaluation": None}
    return TrainConfig(model=str(model), **(values | changes))


def train_steps(model: DiffusionModel, material: Material, config: TrainConfig) -> Iterator[Step]:
    training = Training(model, material, config)
    while training.step < config.steps:
        yield training.advance()


def plan(store: Store, subset: Subset, config: TrainConfig) -> str:
    return plan_run(store, subset.ref, config.model_dump(mode="json")).run_id


def test_a_run_starts_at_ln_2_and_leaves_a_loadable_unet_and_its_metrics(
    store: Store, subset: Subset, tiny_model: Path
) -> None:
    run = plan(store, subset, config_of(tiny_model))
    result = train(store, run)
    assert result.first_loss == pytest.approx(math.log(2), abs=1e-6)
    assert (result.steps, result.pairs, result.skipped) == (3, subset.rows, 0)
    assert run_state(store, run) == "done"
    assert len(store.get(f"{result.output}/metrics.jsonl").splitlines()) == 3
    assert [key for key in store.list(f"{result.output}/tensorboard") if "tfevents" in key]
    assert told(store, run) is None  # what it said while it went on is taken back
    model = load_model(str(tiny_model), device="cpu")
    trained, before = model.load_trained(store.local_folder(result.output)), model.denoiser
    moved = [
        name
        for (name, a), b in zip(trained.named_parameters(), before.parameters(), strict=True)
        if not torch.equal(a, b)
    ]
    assert len(moved) > 0.9 * len(list(before.parameters()))


def test_a_run_that_is_done_is_not_trained_again(store: Store, subset: Subset, tiny_model: Path) -> None:
    run = plan(store, subset, config_of(tiny_model))
    assert train(store, run) == train(store, run)
    assert len(run_attempts(store, run)) == 1


def test_two_trainings_of_one_config_take_the_same_steps(store: Store, subset: Subset, tiny_model: Path) -> None:
    def steps() -> list[Step]:
        model = load_model(str(tiny_model), device="cpu")
        config = config_of(tiny_model)
        return list(train_steps(model, load_material(from_store(store, subset), model, config), config))

    assert steps() == steps()


def test_winner_and_loser_share_timestep_noise_and_prompt(store: Store, subset: Subset, tiny_model: Path) -> None:
    model = load_model(str(tiny_model), device="cpu")
    config = config_of(tiny_model, data={"prompt_dropout": 0.5})
    material = load_material(from_store(store, subset), model, config)
    seen: list[tuple[Any, ...]] = []
    model.denoiser.register_forward_hook(lambda module, args, output: seen.append(args))
    added: list[tuple[Any, ...]] = []
    add_noise = model.noise.add_noise
    model.noise.add_noise = lambda *args: added.append(args) or add_noise(*args)
    next(iter(train_steps(model, material, config)))
    _, timesteps, words = seen[0]
    latents, noise, _ = added[0]
    assert torch.equal(timesteps[:4], timesteps[4:])
    assert torch.equal(noise[:4], noise[4:])
    assert torch.equal(words[:4], words[4:])
    assert not torch.equal(latents[:4], latents[4:])
    assert len(set(timesteps[:4].tolist())) > 1


def test_the_reference_never_moves(store: Store, subset: Subset, tiny_model: Path) -> None:
    model = load_model(str(tiny_model), device="cpu")
    untouched = load_model(str(tiny_model), device="cpu").denoiser
    called: list[Any] = []
    model.denoiser.register_forward_hook(
        lambda module, args, output: called.append(module)
    )  # copied with the reference
    config = config_of(tiny_model)
    list(train_steps(model, load_material(from_store(store, subset), model, config), config))
    (reference,) = {module for module in called if module is not model.denoiser}
    for mine, original in zip(reference.parameters(), untouched.parameters(), strict=True):
        assert torch.equal(mine, original)
        assert mine.grad is None


def opposites(model: DiffusionModel, config: TrainConfig, **more: torch.Tensor) -> Material:
    """Eight pairs whose winners are all of ones and whose losers are all of minus ones."""
    ones, names, places = torch.ones(8), pa.array([f"{i}" for i in range(8)]), np.arange(8, dtype=np.int32)
    uids, prompt = pa.array([*(["winner"] * 8), *(["loser"] * 8)]), np.zeros(8, np.int32)
    preference = more.get("preference", ones)
    rows = PairRows("x@1", names, pa.array(["a red star"]), prompt, uids, places, places + 8, preference, ones)

    def latents(uids: Sequence[str], framings: Sequence[Framing]) -> tuple[torch.Tensor, torch.Tensor]:
        values = torch.tensor([1.0 if uid == "winner" else -1.0 for uid in uids])
        return values.view(-1, 1, 1, 1).expand(-1, 4, 8, 8), torch.zeros((len(uids), 6), dtype=torch.long)

    return Material(
        model, config, rows, square(8, 16), more.get("weight", ones), latents=latents, prompts=model.encode_prompts
    )


def test_training_learns_the_order_of_its_pairs(tiny_model: Path) -> None:
    model = load_model(str(tiny_model), device="cpu")
    config = config_of(
        tiny_model, steps=120, batch=8, learning_rate=4e-3, method={"beta": 200}, data={"prompt_dropout": 0}
    )
    accuracies = [step.implicit_accuracy for step in train_steps(model, opposites(model, config), config)]
    assert sum(accuracies[-30:]) / 30 > 0.9


def test_weights_and_preferences_of_the_pairs_reach_the_loss(tiny_model: Path) -> None:
    config = config_of(tiny_model, batch=8, data={"prompt_dropout": 0})

    def first_gradient(**more: torch.Tensor) -> float:
        model = load_model(str(tiny_model), device="cpu")
        return next(train_steps(model, opposites(model, config, **more), config)).gradient_norm

    # The gradient is clipped in place after its norm was taken, so norms are comparable.
    plain = first_gradient()
    assert plain > 0
    assert first_gradient(weight=torch.full((8,), 0.5)) == pytest.approx(plain / 2, rel=1e-4)
    # At the reference the logit is 0 and the slope of a pair's loss is ½ − q.
    assert first_gradient(preference=torch.full((8,), 0.75)) == pytest.approx(plain / 2, rel=1e-4)
    assert first_gradient(preference=torch.full((8,), 0.5)) == pytest.approx(0, abs=1e-6 * plain)


def test_accumulation_takes_as_many_pairs_per_step(store: Store, subset: Subset, tiny_model: Path) -> None:
    model = load_model(str(tiny_model), device="cpu")
    config = config_of(tiny_model, batch=2, accumulate=3)
    material = load_material(from_store(store, subset), model, config)
    calls: list[tuple[Any, int]] = []
    model.denoiser.register_forward_hook(lambda module, args, output: calls.append((module, len(args[0]))))
    list(islice(train_steps(model, material, config), 1))
    assert [size for module, size in calls if module is model.denoiser] == [4, 4, 4]


def test_a_killed_attempt_leaves_nothing_that_counts(
    store: Store, subset: Subset, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = plan(store, subset, config_of(tiny_model))

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(trainer, "_place", killed)
        train(store, run)
    assert run_state(store, run, lease_seconds=1e-9) == "planned"
    assert not list(store.tmp().glob("run-*"))
    assert train(store, run).steps == 3


def test_a_loss_that_is_not_finite_stops_the_run(store: Store, subset: Subset, tiny_model: Path) -> None:
    run = plan(store, subset, config_of(tiny_model, steps=40, learning_rate=1e30, max_grad_norm=1e30))
    with pytest.raises(PairsieveError, match="learning_rate"):
        train(store, run)
    assert run_state(store, run) != "done"


def test_a_model_that_cannot_be_loaded_is_named(store: Store, subset: Subset, tmp_path: Path) -> None:
    run = plan(store, subset, config_of(tmp_path / "nowhere"))
    with pytest.raises(PairsieveError, match="nowhere"):
        train(store, run)
