"""Implicit-reward accuracy on pairs that a run was not trained on."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from pickapic_factory import rows
from subsets import all_pairs

from ranking.errors import UsageError
from ranking.store.blobs import Store
from ranking.store.snapshots import get_snapshot
from ranking.subsets.catalog import Subset, get_subset, subset_pairs
from ranking.subsets.recipe import parse_recipe
from ranking.subsets.select import create_subset
from training.blocks import HeldOutConfig
from training.caches.provide import load_material
from training.config import TrainConfig
from training.data.material import Material
from training.data.order import Visit
from training.evaluation.implicit import (
    draw_margins,
    held_out_config,
    held_out_pairs,
    implicit_accuracy,
    share_of_mean,
    share_over_prompts,
)
from training.evaluation.winrates import ByPrompt
from training.models.load import load_model


@pytest.fixture
def half(store: Store, tmp_path: Path) -> Subset:
    """Half of the eight decided pairs of a dataset whose twelve pairs have prompts of their own."""
    whole = all_pairs(store, tmp_path, rows(12, prompts=12))
    recipe = whole.recipe | {"name": "half", "take": {"percent": 50.0}}
    return create_subset(store, parse_recipe(recipe), get_snapshot(store, whole.snapshot.n))


@pytest.fixture
def material(store: Store, half: Subset, tiny_model: Path) -> Material:
    source = held_out_pairs(store, half, HeldOutConfig())
    config = held_out_config(TrainConfig(model=str(tiny_model), method="rpo", device="cpu"))
    return load_material(source, load_model(str(tiny_model), device="cpu"), config)


def test_held_out_pairs_have_prompts_that_the_subset_has_not(store: Store, half: Subset, material: Material) -> None:
    trained = set(subset_pairs(store, half)["prompt"].to_pylist())
    seen = set(material.rows.prompts_of(range(len(material))))
    assert seen and not seen & trained
    assert seen | trained == set(subset_pairs(store, get_subset(store, "all"))["prompt"].to_pylist())


def test_a_held_out_subset_may_not_share_a_pair_and_there_must_be_some(store: Store, half: Subset) -> None:
    with pytest.raises(UsageError, match="shares 4 pairs"):
        held_out_pairs(store, half, HeldOutConfig(subset="all"))
    with pytest.raises(UsageError, match="every prompt"):
        held_out_pairs(store, get_subset(store, "all"), HeldOutConfig())


def test_the_base_itself_knows_nothing_and_that_is_one_half(material: Material) -> None:
    found = implicit_accuracy(material.model, material.model.denoiser, material, of="x", draws=3)
    assert found.accuracy.value == 0.5 and found.margin.value == 0
    assert found.pairs == len(material) and found.draws == 3


def test_margins_are_how_much_better_the_winner_is_denoised_than_by_the_reference(material: Material) -> None:
    model = material.model
    policy = copy.deepcopy(model.denoiser)
    with torch.no_grad():
        policy.conv_out.weight.mul_(1.1)
    margins, times = draw_margins(model, policy, material, draws=2)
    # One draw again by hand, in float64 from the predictions on.
    batch = material.batch([Visit(1, 1)])
    noisy = model.noised(batch.latents, batch.noise, batch.times)
    target = model.target(batch.latents, batch.noise, batch.times).double()
    with torch.no_grad():
        mine, theirs = (
            ((model.predict(net, noisy, batch.times, batch.conditioning, batch.geometry) - target) ** 2).mean((1, 2, 3))
            for net in (policy, model.denoiser)
        )
    winner, loser = (float(mine[i] - theirs[i]) for i in (0, 1))
    assert margins[1, 1] == pytest.approx(loser - winner, abs=5e-7)  # of float32 errors near 1
    assert times[1, 1] == pytest.approx(float(batch.uniform[0]))
    assert margins.shape == times.shape == (len(material), 2)


def test_accuracy_is_of_a_pairs_expectation_and_buckets_are_of_single_draws(
    material: Material, monkeypatch: pytest.MonkeyPatch
) -> None:
    margins = np.zeros((len(material), 2))
    margins[:, 0], margins[:, 1] = 3.0, -1.0  # wrong late, and right all the same in expectation
    times = np.tile([0.1, 0.9], (len(material), 1))
    monkeypatch.setattr("training.evaluation.implicit.draw_margins", lambda *_, **__: (margins, times))
    found = implicit_accuracy(material.model, material.model.denoiser, material, of="x", draws=2)
    assert found.accuracy.value == 1 and found.accuracy.low > 0.5 and found.margin.value == 1
    by_time = [bucket.accuracy.value for bucket in found.buckets]
    assert by_time[0] == 1 and by_time[-1] == 0 and np.isnan(by_time[2])


def test_a_single_prompt_or_prompts_all_alike_make_nobody_sure() -> None:
    # Wilson's limits of one half are 0.0945 and 0.9055 of two trials, and 0.0546 and 0.9454 of one.
    half = np.array([1.0, 0.0])
    alike, alone = ByPrompt.of(["a", "a", "b", "b"]), ByPrompt.of(["a", "a"])
    found = share_over_prompts(np.array([1.0, 1.0]), alike.counts, alike)
    assert (found.value, found.low, found.high) == pytest.approx((0.5, 0.0945, 0.9055), abs=5e-5)
    found = share_over_prompts(alone.sums(half), alone.counts, alone)
    assert (found.value, found.low, found.high) == pytest.approx((0.5, 0.0546, 0.9454), abs=5e-5)
    margin = share_of_mean(half, alone)
    assert margin.value == 0.5 and np.isnan([margin.low, margin.high]).all()
