"""The material of a run: which pairs it has, what they weigh, and which are left out."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from pickapic_factory import rows
from subsets import all_pairs

from ranking.errors import PairsieveError
from ranking.flags.taking import take_down
from ranking.store.blobs import Store
from ranking.store.snapshots import get_snapshot
from ranking.subsets.catalog import Subset, subset_pairs
from ranking.subsets.recipe import parse_recipe
from ranking.subsets.select import create_subset
from training.caches.provide import load_material
from training.config import TrainConfig
from training.data.material import Material
from training.data.order import Visit
from training.data.pairs import from_store
from training.models.load import load_model


def material_of(store: Store, subset: Subset, model: Path) -> Material:
    config = TrainConfig(model=str(model), device="cpu", evaluation=None)
    return load_material(from_store(store, subset), load_model(str(model), device="cpu"), config)


def test_pairs_are_encoded_once_per_image_and_keep_winner_and_loser_apart(
    store: Store, subset: Subset, tiny_model: Path
) -> None:
    pairs = material_of(store, subset, tiny_model)
    assert len(pairs) == subset.rows
    assert pairs.skipped == 0
    batch = pairs.batch([Visit(place, 0) for place in range(len(pairs))])
    assert batch.latents.shape == (2 * subset.rows, 4, 16, 16)
    assert len({tuple(each.flatten().tolist()) for each in batch.latents}) <= 13  # pairs in chains share their images
    assert not bool((batch.latents[: len(pairs)] == batch.latents[len(pairs) :]).all(-1).all(-1).all(-1).any())


def test_weights_have_mean_one_over_the_pairs_that_are_used_and_plain_subsets_have_none(
    store: Store, subset: Subset, tiny_model: Path
) -> None:
    plain = material_of(store, subset, tiny_model)
    assert bool((plain.weight == 1).all()) and bool((plain.rows.preference == 1).all())
    spec = subset.recipe | {"name": "weighted", "weights": {"field": "row", "low": 1.0}}
    weighted = create_subset(store, parse_recipe(spec), get_snapshot(store, subset.snapshot.n))
    pairs, table = material_of(store, weighted, tiny_model), subset_pairs(store, weighted)
    raw = torch.tensor(table["weight"].to_pylist())
    assert len(set(raw.tolist())) > 2
    torch.testing.assert_close(pairs.weight, raw / raw.mean())


def test_a_subset_without_readable_pictures_is_refused(store: Store, tmp_path: Path, tiny_model: Path) -> None:
    unreadable = (("jpg_0", b"no picture"), ("jpg_1", b"no picture"))
    subset = all_pairs(store, tmp_path, [replace(row, raw=unreadable) for row in rows(4)])
    with pytest.raises(PairsieveError, match="readable"):
        material_of(store, subset, tiny_model)


def test_a_pair_with_an_unreadable_picture_is_left_out_and_counted(
    store: Store, tmp_path: Path, tiny_model: Path
) -> None:
    first, *others = rows(5)
    subset = all_pairs(store, tmp_path, [replace(first, raw=(("jpg_0", b"no picture"),)), *others])
    pairs = material_of(store, subset, tiny_model)
    assert (len(pairs), pairs.skipped) == (subset.rows - 1, 1)


def test_pairs_with_an_image_that_was_taken_down_since_are_left_out_and_counted(
    store: Store, subset: Subset, tiny_model: Path
) -> None:
    gone = subset_pairs(store, subset)["winner_uid"][0].as_py()
    with_it = sum(gone in pair for pair in _sides(store, subset))
    take_down(store, gone, by="dpo", why="private", door="cli")
    pairs = material_of(store, subset, tiny_model)
    assert (len(pairs), pairs.rows.taken_down, pairs.skipped) == (subset.rows - with_it, with_it, 0)


def _sides(store: Store, subset: Subset) -> list[tuple[str, str]]:
    table = subset_pairs(store, subset)
    return list(zip(table["winner_uid"].to_pylist(), table["loser_uid"].to_pylist(), strict=True))
