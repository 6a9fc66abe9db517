"""The order of training data, and pairs with pictures that cannot be read."""

from dataclasses import replace
from itertools import islice
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
from training.data import batches, load_pairs
from training.models.sd import load_model


def test_every_epoch_sees_every_index_once_in_an_order_of_its_own() -> None:
    drawn = [int(i) for batch in islice(batches(10, size=4, seed=0), 5) for i in batch]
    assert sorted(drawn[:10]) == list(range(10)) == sorted(drawn[10:])
    assert drawn[:10] != drawn[10:]


def test_the_seed_fixes_the_order() -> None:
    def order(seed: int) -> list[list[int]]:
        return [batch.tolist() for batch in islice(batches(7, size=3, seed=seed), 6)]

    assert order(1) == order(1) != order(2)


def test_a_batch_is_full_even_when_there_are_fewer_pairs() -> None:
    assert all(len(batch) == 8 for batch in islice(batches(3, size=8, seed=0), 4))


def test_pairs_are_encoded_once_per_image_and_keep_winner_and_loser_apart(
    store: Store, subset: Subset, tiny_model: Path
) -> None:
    model = load_model(str(tiny_model), device="cpu")
    pairs = load_pairs(store, subset, model, 32)
    assert len(pairs) == subset.rows
    assert pairs.skipped == 0
    assert pairs.latents.shape[1:] == (4, 16, 16)
    assert len(pairs.latents) <= 13  # twelve pairs in chains share their images
    assert bool((pairs.winner != pairs.loser).all())


def test_weights_have_mean_one_over_the_pairs_that_are_used_and_plain_subsets_have_none(
    store: Store, subset: Subset, tiny_model: Path
) -> None:
    model = load_model(str(tiny_model), device="cpu")
    plain = load_pairs(store, subset, model, 32)
    assert (plain.weight, plain.preference) == (None, None)
    spec = subset.recipe | {"name": "weighted", "weights": {"field": "row", "low": 1.0}}
    weighted = create_subset(store, parse_recipe(spec), get_snapshot(store, subset.snapshot.n))
    pairs, table = load_pairs(store, weighted, model, 32), subset_pairs(store, weighted)
    raw = torch.tensor(table["weight"].to_pylist())
    assert pairs.weight is not None and len(set(raw.tolist())) > 2
    torch.testing.assert_close(pairs.weight, raw / raw.mean())


def test_a_subset_without_readable_pictures_is_refused(store: Store, tmp_path: Path, tiny_model: Path) -> None:
    unreadable = (("jpg_0", b"no picture"), ("jpg_1", b"no picture"))
    subset = all_pairs(store, tmp_path, [replace(row, raw=unreadable) for row in rows(4)])
    with pytest.raises(PairsieveError, match="readable"):
        load_pairs(store, subset, load_model(str(tiny_model), device="cpu"), 32)


def test_a_pair_with_an_unreadable_picture_is_left_out_and_counted(
    store: Store, tmp_path: Path, tiny_model: Path
) -> None:
    first, *others = rows(5)
    subset = all_pairs(store, tmp_path, [replace(first, raw=(("jpg_0", b"no picture"),)), *others])
    pairs = load_pairs(store, subset, load_model(str(tiny_model), device="cpu"), 32)
    assert (len(pairs), pairs.skipped) == (subset.rows - 1, 1)


def test_pairs_with_an_image_that_was_taken_down_since_are_left_out_and_counted(
    store: Store, subset: Subset, tiny_model: Path
) -> None:
    gone = subset_pairs(store, subset)["winner_uid"][0].as_py()
    with_it = sum(gone in pair for pair in _sides(store, subset))
    take_down(store, gone, by="dpo", why="private", door="cli")
    pairs = load_pairs(store, subset, load_model(str(tiny_model), device="cpu"), 32)
    assert (len(pairs), pairs.taken_down, pairs.skipped) == (subset.rows - with_it, with_it, 0)


def _sides(store: Store, subset: Subset) -> list[tuple[str, str]]:
    table = subset_pairs(store, subset)
    return list(zip(table["winner_uid"].to_pylist(), table["loser_uid"].to_pylist(), strict=True))
