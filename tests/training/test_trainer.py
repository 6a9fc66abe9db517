"""A run from plan to marker, on a model of a few thousand weights."""

import math
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch

from ranking.errors import PairsieveError
from ranking.runs import plan_run, run_attempts, run_state
from ranking.store.blobs import Store
from ranking.subsets.catalog import Subset
from training import trainer
from training.config import TrainConfig
from training.data import Pairs, load_pairs
from training.models.sd import load_model, load_unet
from training.trainer import dpo_steps, train


def config_of(model: Path, **changes: Any) -> TrainConfig:
    values = {"steps": 3, "batch": 4, "warmup": 0, "learning_rate": 1e-3, "device": "cpu", "evaluation": None}
    return TrainConfig(model=str(model), **(values | changes))


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
    trained = load_unet(store.local_folder(f"{result.output}/unet"), device=torch.device("cpu"))
    before = load_model(str(tiny_model), device="cpu").unet
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
    def steps() -> list[trainer.Step]:
        model = load_model(str(tiny_model), device="cpu")
        return list(dpo_steps(model, load_pairs(store, subset, model, 32), config_of(tiny_model)))

    assert steps() == steps()


def test_winner_and_loser_share_timestep_noise_and_prompt(store: Store, subset: Subset, tiny_model: Path) -> None:
    model = load_model(str(tiny_model), device="cpu")
    pairs = load_pairs(store, subset, model, 32)
    seen: list[tuple[Any, ...]] = []
    model.unet.register_forward_hook(lambda module, args, output: seen.append(args))
    added: list[tuple[Any, ...]] = []
    add_noise = model.noise.add_noise
    model.noise.add_noise = lambda *args: added.append(args) or add_noise(*args)
    next(iter(dpo_steps(model, pairs, config_of(tiny_model, prompt_dropout=0.5))))
    _, timesteps, words = seen[0]
    latents, noise, _ = added[0]
    assert torch.equal(timesteps[:4], timesteps[4:])
    assert torch.equal(noise[:4], noise[4:])
    assert torch.equal(words[:4], words[4:])
    assert not torch.equal(latents[:4], latents[4:])
    assert len(set(timesteps[:4].tolist())) > 1


def test_the_reference_never_moves(store: Store, subset: Subset, tiny_model: Path) -> None:
    model = load_model(str(tiny_model), device="cpu")
    untouched = load_model(str(tiny_model), device="cpu").unet
    called: list[Any] = []
    model.unet.register_forward_hook(lambda module, args, output: called.append(module))  # copied with the reference
    list(dpo_steps(model, load_pairs(store, subset, model, 32), config_of(tiny_model)))
    (reference,) = {module for module in called if module is not model.unet}
    for mine, original in zip(reference.parameters(), untouched.parameters(), strict=True):
        assert torch.equal(mine, original)
        assert mine.grad is None


def test_training_learns_the_order_of_its_pairs(tiny_model: Path) -> None:
    model = load_model(str(tiny_model), device="cpu")
    latents = torch.cat([torch.full((8, 4, 8, 8), 1.0), torch.full((8, 4, 8, 8), -1.0)])
    pairs = Pairs(latents, torch.arange(8), torch.arange(8, 16), ["a red star"] * 8, skipped=0)
    config = config_of(tiny_model, steps=120, batch=8, learning_rate=4e-3, beta=200, prompt_dropout=0)
    accuracies = [step.implicit_accuracy for step in dpo_steps(model, pairs, config)]
    assert sum(accuracies[-30:]) / 30 > 0.9


def test_weights_and_preferences_of_the_pairs_reach_the_loss(tiny_model: Path) -> None:
    config = config_of(tiny_model, batch=8, prompt_dropout=0)

    def first_gradient(**more: torch.Tensor) -> float:
        latents = torch.cat([torch.full((8, 4, 8, 8), 1.0), torch.full((8, 4, 8, 8), -1.0)])
        pairs = Pairs(latents, torch.arange(8), torch.arange(8, 16), ["a red star"] * 8, skipped=0, **more)
        return next(dpo_steps(load_model(str(tiny_model), device="cpu"), pairs, config)).gradient_norm

    # The gradient is clipped in place after its norm was taken, so norms are comparable.
    plain = first_gradient()
    assert plain > 0
    assert first_gradient(weight=torch.full((8,), 0.5)) == pytest.approx(plain / 2, rel=1e-4)
    # At the reference the logit is 0 and the slope of a pair's loss is ½ − q.
    assert first_gradient(preference=torch.full((8,), 0.75)) == pytest.approx(plain / 2, rel=1e-4)
    assert first_gradient(preference=torch.full((8,), 0.5)) == pytest.approx(0, abs=1e-6 * plain)


def test_accumulation_takes_as_many_pairs_per_step(store: Store, subset: Subset, tiny_model: Path) -> None:
    model = load_model(str(tiny_model), device="cpu")
    pairs = load_pairs(store, subset, model, 32)
    calls: list[tuple[Any, int]] = []
    model.unet.register_forward_hook(lambda module, args, output: calls.append((module, len(args[0]))))
    list(islice(dpo_steps(model, pairs, config_of(tiny_model, batch=2, accumulate=3)), 1))
    assert [size for module, size in calls if module is model.unet] == [4, 4, 4]


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
