"""Images compared with each other: win rates by the definition, within the stated bound in large groups, and fronts."""

import numpy as np
import pytest

from ranking import duck
from ranking.features import pareto
from ranking.metrics import comparisons
from ranking.metrics.comparisons import fronts, win_rates
from ranking.metrics.elementary import exponential, logarithm


def defined(scores: np.ndarray) -> np.ndarray:
    sigma = 1 / (1 + np.exp(-(scores[:, None] - scores[None, :])))
    return (sigma.sum(axis=1) - 0.5) / (len(scores) - 1)


def test_win_rates_are_those_of_the_definition() -> None:
    made = np.random.default_rng(0)
    scores, groups = made.normal(size=60) * 3, made.integers(0, 6, 60)
    scores[7] = np.nan
    found = win_rates(scores[:, None], groups)[:, 0]
    assert np.isnan(found[7])
    for group in range(6):
        of = (groups == group) & ~np.isnan(scores)
        np.testing.assert_allclose(found[of], defined(scores[of]), rtol=1e-13)
    assert win_rates(np.array([[4.0]]), np.zeros(1, np.int64)).tolist() == [[0.5]]


def test_win_rates_of_a_large_group_stay_within_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparisons, "EXACT", 16)
    scores = np.random.default_rng(1).normal(size=333) * 5
    found = win_rates(scores[:, None], np.zeros(333, np.int64))[:, 0]
    assert 0 < np.abs(found - defined(scores)).max() < 2 / 16


def test_scores_of_any_size_have_win_rates() -> None:
    found = win_rates(np.array([[3e38], [0.0], [-3e38]]), np.zeros(3, np.int64))[:, 0]
    np.testing.assert_allclose(found, [1.0, 0.25, 0.25], atol=1e-12)  # below the best by more than 345 is all alike


def test_fronts_of_a_large_group_are_never_behind_the_true_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = np.random.default_rng(2).normal(size=(300, 2))
    groups = np.zeros(300, np.int64)
    true = fronts(scores, groups)
    monkeypatch.setattr(pareto, "MOST", 64)
    found = fronts(scores, groups)
    assert (found >= 1).all() and (found <= true).all() and (found < true).any()
    assert found[scores.sum(axis=1).argmax()] == 1


def test_the_exponential_and_the_logarithm_are_numpys_to_a_few_units_in_the_last_place() -> None:
    x = np.concatenate([np.linspace(-50, 50, 4001), [0.0, 1e-300, -699.5, 699.5]])
    y = np.concatenate([np.logspace(-300, 300, 4001), [1.0, np.nextafter(1, 2), np.sqrt(2), np.sqrt(0.5)]])
    with duck.connect() as con:
        con.register("given", {"x": x, "y": y})
        found = con.sql(f"SELECT {exponential('x')} AS e, {logarithm('y')} AS l FROM given").fetchnumpy()
        nothing = con.sql(f"SELECT {exponential('NULL::DOUBLE')}, {logarithm('0.0::DOUBLE')}").fetchall()
    np.testing.assert_allclose(found["e"], np.exp(x), rtol=5e-16)
    np.testing.assert_allclose(found["l"], np.log(y), rtol=5e-16, atol=1e-16)
    assert nothing == [(None, None)]
