"""Abilities of models are what makes their record likeliest, and the gap between two is a truncated normal's mean."""

import numpy as np
import pytest
from framed import measured
from scipy.optimize import minimize
from scipy.stats import norm, truncnorm

from ranking.metrics.abilities import fitted, truncated_mean


def test_the_truncated_mean_is_scipys_and_stays_exact_far_below_zero() -> None:
    a = np.array([-8.0, -3.0, 0.0, 0.5, 4.0, 40.0])
    np.testing.assert_allclose(truncated_mean(a), truncnorm.mean(-a, np.inf, loc=a), rtol=1e-9)
    assert truncated_mean(np.array([0.0]))[0] == pytest.approx(np.sqrt(2 / np.pi), rel=1e-15)
    # Mills' ratio: 1/x − 2/x³ + 10/x⁵ for large x.
    assert truncated_mean(np.array([-1e4]))[0] == pytest.approx(1e-4 * (1 - 2e-8), rel=1e-12)
    near = truncated_mean(np.array([-30.000001, -29.999999]))
    assert near[0] == pytest.approx(near[1], rel=1e-6)


def test_the_fit_is_the_maximum_that_another_optimiser_finds() -> None:
    wins = np.array([[0, 30, 44], [12, 0, 25.5], [6, 14.5, 0]])

    def loss(state: np.ndarray) -> float:
        mean, spread = state[:3], np.exp(2 * state[3:])
        z = (mean[:, None] - mean) / np.sqrt(spread[:, None] + spread)
        return -(wins * norm.logcdf(z)).sum() + (mean**2).sum() / 2 + (state[3:] ** 2).sum() * 8

    other = minimize(loss, np.zeros(6), method="BFGS", options={"gtol": 1e-8}).x
    found = fitted(wins)
    np.testing.assert_allclose(found.mean, other[:3], atol=1e-5)
    np.testing.assert_allclose(found.deviation, np.exp(other[3:]), atol=1e-5)


def test_an_upset_says_little_and_a_pair_of_one_model_says_the_same_whoever_wins() -> None:
    def row(name: int, first: str | None, second: str, winner: int | None) -> dict[str, object]:
        models = {"model_0": first, "model_1": second, "is_tie": winner is None}
        return {"pair_id": str(name), "prompt_id": "p", "u0": f"a{name}", "u1": f"b{name}", "winner": winner} | models

    rows = [row(i, "good", "poor", 0) for i in range(9)] + [row(9, "good", "poor", 1), row(10, "good", "poor", None)]
    rows += [row(11, "good", "good", 0), row(12, "good", "good", 1), row(13, None, "poor", 0)]
    found = measured({"name": "arena-gap"}, rows)
    expected, upset, same, turned, unknown = found[0], found[9], found[11], found[12], found[13]
    assert expected is not None and upset is not None and same is not None
    assert expected > same > upset > 0
    assert same == turned and unknown is None and found[10] is None
