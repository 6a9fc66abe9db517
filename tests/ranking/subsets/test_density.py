"""Distances to the k-th neighbour: against brute force, against a formula, and as they are kept."""

import math

import numpy as np
import pytest
from embedded import embed_all, vector_of

from ranking.collection import plan_collection
from ranking.embeddings import Embeddings
from ranking.errors import UnknownNameError, UsageError
from ranking.features.pairs import PairTable
from ranking.store.blobs import Store
from ranking.store.snapshots import create_snapshot
from ranking.subsets import density
from ranking.subsets.density import log_distances, prompt_density
from ranking.subsets.vectors import SIDE, on_grid, squared_distance_to


def drawn(n: int, d: int, seed: int = 0) -> np.ndarray:
    made = np.random.default_rng(seed).standard_normal((n, d))
    return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float16)


def points(matrix: np.ndarray) -> Embeddings:
    return Embeddings(tuple(f"k{i:06}" for i in range(len(matrix))), matrix, {})


@pytest.mark.parametrize(("n", "d", "k"), [(40, 5, 3), (700, 32, 10), (200, 768, 1)])
def test_the_kth_distance_is_that_of_brute_force_to_the_last_bit(n: int, d: int, k: int) -> None:
    grid = on_grid(drawn(n, d))
    whole = grid.astype(np.int64)
    # Worked out another way, in whole numbers throughout.
    expected = np.sort(((whole[:, None, :] - whole[None, :50, :]) ** 2).sum(axis=2), axis=1)
    own = np.where(np.arange(n) < 50, np.arange(n), -1)
    found = squared_distance_to(grid, grid[:50], k=k, own=own)
    assert np.array_equal(found, np.where(own >= 0, expected[:, min(k, 49)], expected[:, min(k, 50) - 1]))


def test_folding_many_references_into_groups_changes_nothing() -> None:
    grid = on_grid(drawn(3000, 8))
    grid[5] = grid[700] = grid[2999]  # ties, and the columns that no group holds
    found = squared_distance_to(grid, grid, k=7, own=np.arange(3000))
    exact = grid.astype(np.int64)
    for row in (0, 5, 1023, 1024, 2999):
        others = np.delete(((exact - exact[row]) ** 2).sum(axis=1), row)
        assert found[row] == np.sort(others)[6]


def test_distances_are_those_of_the_embeddings_but_for_the_grid() -> None:
    matrix = drawn(300, 768)
    plain = matrix.astype(np.float64)
    plain /= np.linalg.norm(plain, axis=1, keepdims=True)
    expected = np.sort(np.sqrt(np.maximum(2 - 2 * plain @ plain.T, 0)), axis=1)[:, 4]
    # Both ends move by at most √d / 2 grid steps, and hardly ever in one direction.
    difference = np.abs(np.exp(log_distances(points(matrix), neighbours=4)) - expected)
    assert difference.max() < np.sqrt(768) / SIDE
    assert difference.mean() < 1e-3


def test_points_on_a_circle_have_the_distance_that_geometry_says() -> None:
    angles = 2 * np.pi * np.arange(12) / 12
    matrix = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float16)
    # The third nearest of twelve points lies two steps, 60 degrees, away: a chord of 1.
    assert log_distances(points(matrix), neighbours=3) == pytest.approx([0.0] * 12, abs=2e-3)


def test_equal_points_have_the_floor_and_a_single_point_the_largest_distance() -> None:
    same = np.tile(drawn(1, 6), (4, 1))
    assert log_distances(points(same), neighbours=2).tolist() == [round(math.log(0.01), 6)] * 4
    assert log_distances(points(same[:1]), neighbours=2).tolist() == [round(math.log(2), 6)]
    assert log_distances(points(same[:0]), neighbours=2).tolist() == []


def test_beyond_the_exact_size_a_sample_stands_for_all_within_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix, k = drawn(4000, 16), 10
    monkeypatch.setattr(density, "EXACT", 3999)
    monkeypatch.setattr(density, "SAMPLE", 1000)
    sampled = np.exp(log_distances(points(matrix), neighbours=k))
    grid = on_grid(matrix).astype(np.float64)
    places = []
    for row in range(0, 4000, 40):
        others = np.sqrt(((grid - grid[row]) ** 2).sum(axis=1)) / SIDE
        places.append(int((others <= sampled[row] + 1e-5).sum()) - 1)
    # On average the (k / f)-th nearest of all, f = 1/4; a place deviates by less than 1/√k.
    assert np.mean(places) == pytest.approx(40, rel=4 / math.sqrt(k) / 10)
    assert np.std(places) / 40 < 1.25 / math.sqrt(k)


def test_every_prompt_has_a_density_that_is_kept_and_that_collection_knows(
    store: Store, dataset: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    embed_all(store, absent={0: {"img-0"}})
    table = PairTable(store, create_snapshot(store), "pets")
    found = prompt_density(table, "clip-l14", neighbours=2)
    assert found.schema == density.DENSITY
    ids = found["prompt_id"].to_pylist()
    expected = log_distances(points(np.stack([vector_of(key) for key in ids])), neighbours=2)
    assert found["log_distance"].to_pylist() == expected.tolist()
    monkeypatch.setattr(density, "log_distances", lambda *_, **__: pytest.fail("computed twice"))
    assert prompt_density(table, "clip-l14", neighbours=2).equals(found)
    kept = store.list("density")
    assert len(kept) == 2
    later = plan_collection(store, now=4e9)
    assert not {each.key for each in later.candidates} & set(kept)


def test_a_kept_density_that_is_damaged_is_computed_again(store: Store, dataset: object) -> None:
    embed_all(store)
    table = PairTable(store, create_snapshot(store), "pets")
    found = prompt_density(table, "clip-l14")
    (file,) = (key for key in store.list("density") if key.endswith(".parquet"))
    store.local(file).chmod(0o644)
    store.local(file).write_bytes(b"PAR1 and nothing else")
    assert prompt_density(table, "clip-l14").equals(found)
    with pytest.raises(UnknownNameError, match="did you mean clip-l14"):
        prompt_density(table, "clip-l41")
    with pytest.raises(UsageError, match="no neighbour number 0"):
        prompt_density(table, "clip-l14", neighbours=0)


def test_how_far_the_distances_are_is_told() -> None:
    told: list[tuple[int, int]] = []
    matrix = np.random.default_rng(0).normal(size=(2500, 8)).astype(np.float16)
    log_distances(points(matrix), neighbours=3, progress=lambda done, of: told.append((done, of)))
    assert told[-1] == (2500, 2500) and len(told) > 1 and told == sorted(told)
