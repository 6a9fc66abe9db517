"""What a run made of each of its pairs, and which of them ask for what unseen pairs ask for."""

import copy
import csv
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import pairsieve
from pickapic_factory import rows
from subsets import all_pairs

from ranking.errors import NotFoundError
from ranking.runs import plan_run
from ranking.store.blobs import Store
from ranking.store.snapshots import get_snapshot
from ranking.subsets.catalog import Subset, subset_pairs
from ranking.subsets.recipe import parse_recipe
from ranking.subsets.select import create_subset
from training.blocks import HeldOutConfig, LoraConfig
from training.caches.provide import load_material
from training.config import TrainConfig
from training.data.material import Material
from training.data.order import Visit
from training.data.pairs import from_store
from training.evaluation.attribution import attribute, goes_with, groups
from training.evaluation.direction import (
    agreement,
    distance_between,
    held_out_gradient,
    trained_weights,
    where_it_began,
)
from training.evaluation.implicit import held_out_config, held_out_pairs
from training.losses.errors import denoising_error
from training.models.load import load_model
from training.models.lora import add_adapters
from training.trainer import train

DRAWS = HeldOutConfig(draws=2)


@pytest.fixture
def half(store: Store, tmp_path: Path) -> Subset:
    """A third of twelve pairs with prompts of their own, whose winner is the scorer's and not people's."""
    whole = all_pairs(store, tmp_path, rows(12, prompts=12))
    recipe = whole.recipe | {"name": "half", "take": {"percent": 33.4}, "labels": {"relabel": "fixed"}}
    return create_subset(store, parse_recipe(recipe), get_snapshot(store, whole.snapshot.n))


def _config(model: Path, **more: object) -> TrainConfig:
    told = {"model": str(model), "steps": 2, "batch": 4, "learning_rate": 0.05, "warmup": 0, "device": "cpu"}
    return TrainConfig(**(told | {"evaluation": None} | more))  # type: ignore[arg-type]


@pytest.fixture
def run(store: Store, half: Subset, tiny_model: Path) -> str:
    """A finished run of two steps with LoRA."""
    config = _config(tiny_model, lora={"rank": 2})
    run_id = plan_run(store, half.ref, config.model_dump(mode="json")).run_id
    train(store, run_id)
    return run_id


@pytest.fixture
def sides(store: Store, half: Subset, tiny_model: Path) -> tuple[Material, Material]:
    """The subset's pairs and unseen ones."""
    config = held_out_config(_config(tiny_model))
    model = load_model(str(tiny_model), device="cpu")
    sources = from_store(store, half), held_out_pairs(store, half, DRAWS)
    mine, unseen = (load_material(source, model, config) for source in sources)
    return mine, unseen


def test_agreement_is_the_product_of_gradients(sides: tuple[Material, Material]) -> None:
    mine, unseen = sides
    model, distance = mine.model, 0.1
    found = agreement(model, model.denoiser, mine, unseen, distance=distance, draws=2)
    way = held_out_gradient(model, model.denoiser, unseen, draws=2)
    length = math.sqrt(sum(float(each.square().sum()) for each in way.values()))
    # Each draw of each pair again, by autograd.
    weights = trained_weights(model.denoiser)
    for each in weights.values():
        each.requires_grad_(True)
    products = np.zeros_like(found)
    for pair, number in np.ndindex(*found.shape):
        batch = mine.batch([Visit(pair, number)])
        noisy = model.noised(batch.latents, batch.noise, batch.times)
        predicted = model.predict(model.denoiser, noisy, batch.times, batch.conditioning, batch.geometry)
        winner, loser = denoising_error(predicted, model.target(batch.latents, batch.noise, batch.times))
        slopes = torch.autograd.grad(loser - winner, list(weights.values()))
        products[pair, number] = sum(
            float((slope * way[name]).sum()) for name, slope in zip(weights, slopes, strict=True)
        )
    expected = distance * products / length
    assert found.shape == (len(mine), 2)
    assert found == pytest.approx(expected, abs=0.02 * np.abs(expected).max())


def test_unseen_pairs_agree_with_themselves_by_the_length_of_their_gradient(sides: tuple[Material, Material]) -> None:
    _, unseen = sides
    model = unseen.model
    way = held_out_gradient(model, model.denoiser, unseen, draws=2)
    length = math.sqrt(sum(float(each.square().sum()) for each in way.values()))
    found = agreement(model, model.denoiser, unseen, unseen, distance=0.1, draws=2)
    assert found.mean() == pytest.approx(0.1 * length, rel=0.02)
    assert not any(each.requires_grad for each in model.denoiser.parameters())


def test_adapters_begin_where_they_add_nothing(sides: tuple[Material, Material]) -> None:
    mine, _ = sides
    model = mine.model
    policy = copy.deepcopy(model.denoiser)
    with torch.no_grad():
        for each in add_adapters(policy, LoraConfig(rank=2), seed=0):
            each.add_(0.1)
    start = where_it_began(model, policy)
    batch = mine.batch([Visit(0, 0)])
    noisy = model.noised(batch.latents, batch.noise, batch.times)
    told = (noisy, batch.times, batch.conditioning, batch.geometry)
    with torch.no_grad():
        assert torch.equal(model.predict(start, *told), model.predict(model.denoiser, *told))
    count = sum(each.numel() for name, each in policy.named_parameters() if "lora_B" in name)
    assert distance_between(start, policy) == pytest.approx(0.1 * math.sqrt(count))
    assert all("lora_" in name for name in trained_weights(policy))


def test_each_pair_stands_beside_what_chose_it_and_is_looked_at_once(
    store: Store, half: Subset, run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = attribute(store, run, wanted=DRAWS, device="cpu")
    pairs = subset_pairs(store, half)
    assert found.table.select(["pair_id", "rank", "metric"]).equals(pairs.select(["pair_id", "rank", "metric"]))
    # The scorer is that of the labels, so it never prefers a loser, whatever people said.
    assert (found.table["fixed.gap"].to_numpy() > 0).all()
    margin = found.table["loser_change"].to_numpy() - found.table["winner_change"].to_numpy()
    assert found.table["margin"].to_numpy() == pytest.approx(margin)
    assert np.abs(margin).min() > 0
    assert found.held_out_pairs > 0 and half.ref in (found.held_out or "")
    (all_of_them,) = groups(found)  # too few for fifths
    assert all_of_them.learnt.value == (margin > 0).mean() and all_of_them.helped is not None
    assert [name for name, *_ in goes_with(found)] == ["metric", "fixed.gap"]
    monkeypatch.setattr("training.evaluation.attribution.load_for", lambda *_, **__: pytest.fail("looked again"))
    assert attribute(store, run, wanted=DRAWS, device="cpu").table.equals(found.table)


def test_all_pairs_come_as_a_file_and_mistakes_are_one_line(store: Store, run: str, tmp_path: Path) -> None:
    told = pairsieve("attribute", run, "--draws", "2", "--device", "cpu", "--to", tmp_path / "pairs.csv")
    assert told.status == 0, told.err
    assert "helped least" in told.out and "All 4 pairs are in" in told.err
    with (tmp_path / "pairs.csv").open() as file:
        written = list(csv.DictReader(file))
    as_json = pairsieve("attribute", run, "--draws", "2", "--device", "cpu", "--json").json()
    assert [row["pair_id"] for row in written] == [row["pair_id"] for row in as_json["pairs"]]
    assert float(written[0]["helped"]) == pytest.approx(as_json["pairs"][0]["helped"])
    again = pairsieve("attribute", run, "--to", tmp_path / "pairs.csv")
    assert again.status == 2 and "is there already" in again.err
    shared = pairsieve("attribute", run, "--held-out", "all")
    assert shared.status == 2 and "shares 2 pairs" in shared.err


def test_a_run_that_is_not_done_has_taught_nothing_yet(store: Store, half: Subset, tiny_model: Path) -> None:
    planned = plan_run(store, half.ref, _config(tiny_model).model_dump(mode="json")).run_id
    with pytest.raises(NotFoundError, match="not done"):
        attribute(store, planned)
