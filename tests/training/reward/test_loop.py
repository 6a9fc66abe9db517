"""The loop: the same bits after a kill, parts like the whole, the best weights kept and none that are not finite."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from ranking.errors import PairsieveError, UsageError
from training.reward.config import RewardConfig
from training.reward.loop import Group, Learner, batch_rows, fit, gaps_of, loss_and_accuracy
from training.reward.objective import Numbers, Pairs, example_weights

rng = np.random.default_rng(0)
FEATURES = torch.from_numpy(rng.normal(size=(300, 6)).astype(np.float32))
TRUTH = torch.tensor([1.5, -1.0, 0.5, 0.0, 0.0, 2.0])


def learner(rate: float = 0.05, factor: float = 1.0) -> Learner:
    torch.manual_seed(0)
    # No last bias: both scores of a pair have it, so its gradient is rounding noise, which Adam would blow up.
    model = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1, bias=False))

    def scores(images: Numbers, prompts: Numbers, mirrored: bool) -> torch.Tensor:
        del prompts, mirrored
        values: torch.Tensor = model(FEATURES[images])[:, 0] * factor
        return values

    return Learner(model, scores, (Group(list(model.parameters()), rate, 0.01),))


def pairs(count: int, *, seed: int, noise: float = 0.0) -> Pairs:
    draws = np.random.default_rng(seed)
    first, second = draws.integers(0, 300, (2, count))
    gap = ((FEATURES[first] - FEATURES[second]) @ TRUTH).numpy()
    label = np.where(np.abs(gap) < 0.3, 0.5, (gap > 0).astype(float))
    label = np.where(draws.random(count) < noise, 1 - label, label)
    prompt = draws.integers(0, 30, count)
    return Pairs(first, second, prompt, label, example_weights(prompt, "prompt"))


CONFIG = RewardConfig(
    steps=40, batch=16, warmup=5, evaluate_every=10, checkpoint_every=10, patience=0, weight_decay=0.01
)
TRAINING, VALIDATION = pairs(200, seed=1, noise=0.2), pairs(100, seed=2)


def weights(found: Learner) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in found.module.parameters()])


def test_it_learns_what_the_labels_say() -> None:
    trained = learner()
    before, _ = loss_and_accuracy(gaps_of(trained, VALIDATION), VALIDATION)
    found = fit(trained, TRAINING, VALIDATION, CONFIG)
    after, right = loss_and_accuracy(gaps_of(trained, VALIDATION), VALIDATION)
    assert after < before - 0.1 and right > 0.8
    assert [row["step"] for row in found.curve] == [0, 10, 20, 30, 40]


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not() -> None:
    first, again, other = learner(), learner(), learner()
    fit(first, TRAINING, VALIDATION, CONFIG)
    fit(again, TRAINING, VALIDATION, CONFIG)
    fit(other, TRAINING, VALIDATION, CONFIG.model_copy(update={"seed": 1}))
    assert torch.equal(weights(first), weights(again))
    assert not torch.equal(weights(first), weights(other))


@pytest.mark.parametrize("killed_at", [3, 10, 27, 39])
def test_a_killed_training_goes_on_to_the_same_bits(tmp_path: Path, killed_at: int) -> None:
    whole = learner()
    wanted = fit(whole, TRAINING, VALIDATION, CONFIG)

    def kill(_stage: str, done: int, _total: int) -> None:
        if done == killed_at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(learner(), TRAINING, VALIDATION, CONFIG, folder=tmp_path, identity="a", progress=kill)
    steps: list[int] = []
    resumed = learner()
    found = fit(
        resumed,
        TRAINING,
        VALIDATION,
        CONFIG,
        folder=tmp_path,
        identity="a",
        progress=lambda _stage, done, _total: steps.append(done),
    )
    assert steps[0] == killed_at // 10 * 10  # it did go on, and not from the start
    assert torch.equal(weights(resumed), weights(whole)) and found == wanted


def test_a_checkpoint_of_another_training_or_a_torn_one_is_not_used(tmp_path: Path) -> None:
    fit(learner(), TRAINING, VALIDATION, CONFIG, folder=tmp_path, identity="a")
    fresh = learner()
    fit(fresh, TRAINING, VALIDATION, CONFIG.model_copy(update={"seed": 5}), folder=tmp_path, identity="b")
    wanted = learner()
    fit(wanted, TRAINING, VALIDATION, CONFIG.model_copy(update={"seed": 5}))
    assert torch.equal(weights(fresh), weights(wanted))
    file = tmp_path / "checkpoint.safetensors"
    file.write_bytes(file.read_bytes()[:100])
    again = learner()
    fit(again, TRAINING, VALIDATION, CONFIG.model_copy(update={"seed": 5}), folder=tmp_path, identity="b")
    assert torch.equal(weights(again), weights(wanted))


def test_a_batch_in_parts_takes_the_step_of_the_whole() -> None:
    whole, parts = learner(), learner()
    fit(whole, TRAINING, None, CONFIG)
    fit(parts, TRAINING, None, CONFIG.model_copy(update={"batch": 4, "accumulate": 4}))
    assert torch.allclose(weights(whole), weights(parts), atol=1e-5)
    # The negative control: batches that are weighed apart take other steps.
    assert not torch.allclose(weights(whole), weights(learner()), atol=1e-2)


def test_it_stops_when_nothing_gets_better_and_keeps_the_best() -> None:
    config = CONFIG.model_copy(update={"steps": 400, "patience": 3, "warmup": 0})
    few = TRAINING.take(np.arange(12))  # to be learnt by heart
    trained = learner()
    found = fit(trained, few, VALIDATION, config)
    losses = {row["step"]: row["loss"] for row in found.curve}
    assert found.steps < 400 and "3 looks" in found.ended
    assert losses[found.best_step] == min(losses.values())
    kept, _ = loss_and_accuracy(gaps_of(trained, VALIDATION), VALIDATION)
    assert kept == pytest.approx(min(losses.values()))


def test_the_last_weights_are_kept_where_that_is_asked() -> None:
    few = TRAINING.take(np.arange(12))
    config = CONFIG.model_copy(update={"steps": 200, "warmup": 0})
    last, best = learner(), learner()
    fit(last, few, VALIDATION, config.model_copy(update={"keep": "last"}))
    fit(best, few, VALIDATION, config)
    assert not torch.equal(weights(last), weights(best))


def broken_at(step: int) -> tuple[Learner, list[int]]:
    """A learner whose scores are NaN from a step on."""
    sound = learner()
    calls = [0]

    def scores(images: Numbers, prompts: Numbers, mirrored: bool) -> torch.Tensor:
        calls[0] += sound.module.training
        values = sound.scores(images, prompts, mirrored)
        return values * math.nan if calls[0] > step else values

    return Learner(sound.module, scores, sound.groups), calls


def test_a_loss_that_is_not_finite_ends_it_with_the_last_good_weights() -> None:
    broken, _ = broken_at(25)
    found = fit(broken, TRAINING, VALIDATION, CONFIG)
    assert found.steps == 25 and found.best_step == 20 and "nan" in found.ended
    sound, before_step_20 = learner(), []

    def note(_stage: str, done: int, _total: int) -> None:
        if done == 20:
            before_step_20.append(weights(sound).clone())

    fit(sound, TRAINING, VALIDATION, CONFIG, progress=note)
    assert torch.equal(weights(broken), before_step_20[0])


def test_a_loss_that_is_not_finite_at_once_is_one_clear_line() -> None:
    broken, _ = broken_at(0)
    with pytest.raises(PairsieveError, match=r"nan.*at step 0; lower learning_rate"):
        fit(broken, TRAINING, VALIDATION, CONFIG)


def test_half_precision_on_a_cpu_is_refused_and_no_memory_is_one_line() -> None:
    with pytest.raises(UsageError, match="fp16 trains on CUDA only"):
        fit(learner(), TRAINING, VALIDATION, CONFIG.model_copy(update={"precision": "fp16"}))
    greedy = learner()

    def scores(images: Numbers, prompts: Numbers, mirrored: bool) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 4 GiB")

    with pytest.raises(PairsieveError, match=r"not enough memory.*halve batch"):
        fit(Learner(greedy.module, scores, greedy.groups), TRAINING, VALIDATION, CONFIG)


def test_batches_show_each_pair_once_an_epoch_in_another_order_each() -> None:
    rows = np.concatenate([batch_rows(10, step, size=4, seed=3) for step in range(10)])
    epochs = rows.reshape(4, 10)
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4
    assert (batch_rows(3, 0, size=7, seed=0) < 3).all()
