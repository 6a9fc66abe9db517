"""Distances of sets against closed forms, other implementations and simulation."""

import numpy as np
import pytest
from scipy import linalg

from ranking.errors import UsageError
from training.style.distances import (
    Cloud,
    Discrepancy,
    discrepancy,
    discrepancy_change,
    frechet,
    frechet_change,
    frechet_estimate,
    gaussian,
    linear,
    numbered,
    polynomial,
)


def cloud(vectors: np.ndarray, *, each: int = 1, first: int = 0) -> Cloud:
    """`each` pictures a prompt, prompts numbered from `first`."""
    return Cloud(vectors, first + np.arange(len(vectors)) // each)


def test_the_frechet_distance_is_scipys_with_a_matrix_root() -> None:
    rng = np.random.default_rng(0)
    one = rng.normal(size=(60, 8)) @ rng.normal(size=(8, 8))
    other = rng.normal(0.5, 1.5, size=(45, 8))
    covariances = np.cov(one.T), np.cov(other.T)
    root = linalg.sqrtm(covariances[0] @ covariances[1]).real
    shift = one.mean(0) - other.mean(0)
    expected = shift @ shift + np.trace(covariances[0]) + np.trace(covariances[1]) - 2 * np.trace(root)
    assert frechet(one, other) == pytest.approx(expected, rel=1e-9)


def test_of_commuting_normals_it_is_the_closed_form() -> None:
    # Independent coordinates: sum of (mean difference)² + (deviation difference)².
    rng = np.random.default_rng(1)
    base = rng.normal(size=(200_000, 3))
    one, other = base * [1, 2, 3], rng.normal(size=(200_000, 3)) * [2, 2, 1] + [0, 1, 0]
    assert frechet(one, other) == pytest.approx(1 + 1 + 4, rel=0.02)


def test_it_is_the_same_whether_there_are_more_pictures_than_dimensions_or_fewer() -> None:
    rng = np.random.default_rng(2)
    one, other = rng.normal(size=(12, 5)), rng.normal(1, 1, size=(9, 5))
    wide = [np.concatenate([each, np.zeros((len(each), 40))], axis=1) for each in (one, other)]
    assert frechet(*wide) == pytest.approx(frechet(one, other), rel=1e-9)
    assert frechet(one, one) == pytest.approx(0, abs=1e-9)


def test_a_discrepancy_with_a_picture_a_prompt_is_the_textbook_u_statistic() -> None:
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(7, 4)), rng.normal(size=(5, 4))
    kernel = lambda a, b: (a @ b / 4 + 1) ** 3  # noqa: E731
    xx = np.mean([kernel(a, b) for i, a in enumerate(x) for j, b in enumerate(x) if i != j])
    yy = np.mean([kernel(a, b) for i, a in enumerate(y) for j, b in enumerate(y) if i != j])
    xy = np.mean([kernel(a, b) for a in x for b in y])
    found = Discrepancy.of(cloud(x), cloud(y, first=7), polynomial).value()[0]
    assert found == pytest.approx(xx + yy - 2 * xy, rel=1e-12)


def test_the_linear_kernel_gives_the_squared_distance_of_means_without_its_bias() -> None:
    rng = np.random.default_rng(4)
    drawn = [
        Discrepancy.of(
            cloud(rng.normal(size=(20, 3))), cloud(rng.normal([0.5, 0, 0], size=(20, 3)), first=20), linear
        ).value()[0]
        for _ in range(600)
    ]
    assert np.mean(drawn) == pytest.approx(0.25, abs=4 * np.std(drawn) / np.sqrt(600))


@pytest.mark.parametrize("kernel", [polynomial, gaussian])
def test_of_equal_distributions_it_is_zero_on_average_even_where_pictures_of_a_prompt_are_alike(kernel) -> None:
    # Both sets show the same prompts, four pictures each, most of whose variance lies between prompts.
    rng = np.random.default_rng(5)
    drawn = []
    for _ in range(300):
        prompts = np.repeat(2 * rng.normal(size=(12, 1, 6)), 4, axis=1).reshape(-1, 6)
        one, other = (cloud(prompts + rng.normal(size=prompts.shape), each=4) for _ in range(2))
        drawn.append(Discrepancy.of(one, other, kernel).value()[0])
    assert abs(np.mean(drawn)) < 3 * np.std(drawn) / np.sqrt(300)


def test_intervals_hold_the_truth_about_nineteen_times_in_twenty() -> None:
    rng = np.random.default_rng(6)
    hits = 0
    for _ in range(100):
        one = cloud(rng.normal(size=(40, 3)))
        other = cloud(rng.normal([1, 0, 0], size=(40, 3)), first=40)
        found = discrepancy(one, other, linear)
        hits += found.low <= 1 <= found.high
    assert 85 <= hits <= 100


def test_a_jackknifed_frechet_distance_knows_its_own_spread() -> None:
    rng = np.random.default_rng(7)
    estimates = []
    for _ in range(60):
        one, other = rng.normal(size=(80, 3)), rng.normal([1, 0, 0], size=(80, 3))
        estimates.append(frechet_estimate(cloud(one), cloud(other, first=80)))
    spread = np.std([each.value for each in estimates])
    told = np.mean([(each.high - each.low) / 2 / 2.02 for each in estimates])
    assert 0.8 < told / spread < 1.35


def test_a_run_that_moves_to_the_reference_has_a_negative_change_and_its_interval_is_paired() -> None:
    rng = np.random.default_rng(8)
    prompts = 3 * rng.normal(size=(30, 4))
    reference, base = cloud(prompts + 2), cloud(prompts + 0.1 * rng.normal(size=prompts.shape))
    run = Cloud(base.vectors + 1, base.group)
    for change in (frechet_change(base, run, reference), discrepancy_change(base, run, reference, linear)):
        # Means: (2 − 1)² · 4 − 2² · 4 = −12, give or take the prompts' own difference.
        assert change.high < 0 and change.value == pytest.approx(-12, rel=0.1)
        # Prompts lie 3 apart, and the interval does not know of it.
        assert change.high - change.low < 1


def test_one_prompt_alone_is_refused() -> None:
    same = cloud(np.ones((3, 2)), each=3)
    with pytest.raises(UsageError, match="two prompts"):
        discrepancy(same, same, linear)


def test_prompts_are_numbered_alike_for_all_sets() -> None:
    assert numbered(["b", "a", "b"], ["c", "a"]) == {"b": 0, "a": 1, "c": 2}
