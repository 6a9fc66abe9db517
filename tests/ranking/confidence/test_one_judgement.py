"""The model of one judgement: closed forms against integrals, regression and lapse rates against other solvers."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import minimize
from scipy.stats import norm

from ranking.confidence.lapses import RATES, rates, record, shares
from ranking.confidence.regression import fit, tune
from ranking.confidence.thurstone import answer, better, pull, right, right_of_votes


def _one(value: float) -> np.ndarray:
    return np.array([value])


@pytest.mark.parametrize(("mean", "variance", "lapse"), [(0.4, 0.8, 0.1), (-1.3, 2.0, 0.3), (2.0, 0.05, 0.0)])
def test_an_answer_and_its_rightness_are_the_integrals_they_stand_for(
    mean: float, variance: float, lapse: float
) -> None:
    def joint(d: float) -> float:
        return float((lapse + (1 - 2 * lapse) * norm.cdf(d)) * norm.pdf(d, mean, variance**0.5))

    chance = quad(joint, -12, 0)[0] + quad(joint, 0, 12)[0]
    given = _one(mean), _one(variance), _one(lapse)
    assert answer(*given)[0] == pytest.approx(chance, abs=1e-7)
    assert right(*given)[0] == pytest.approx(quad(joint, 0, 12)[0] / chance, abs=1e-7)
    assert better(*given[:2])[0] == pytest.approx(norm.sf(0, mean, variance**0.5), abs=1e-12)
    one_vote = right_of_votes(given[0], given[1], _one(1.0), _one(0.0), given[2])[0]
    assert one_vote == pytest.approx(right(*given)[0], abs=0.002)


def test_what_a_judgement_says_is_the_slope_of_its_likelihood() -> None:
    mean, variance, sign, lapse = 0.7, 1.5, -1.0, 0.2

    def log_chance(m: float) -> float:
        p = answer(_one(m), variance, lapse)[0]
        return float(np.log(p if sign > 0 else 1 - p))

    step = 1e-4
    slope = (log_chance(mean + step) - log_chance(mean - step)) / (2 * step)
    bend = (log_chance(mean + step) - 2 * log_chance(mean) + log_chance(mean - step)) / step**2
    first, second = pull(_one(mean), _one(variance), _one(sign), _one(lapse))
    assert first[0] == pytest.approx(slope, abs=1e-6)
    assert second[0] == pytest.approx(-bend, abs=1e-5)


def test_a_rater_who_answers_at_random_changes_no_belief() -> None:
    assert right(_one(-0.5), _one(1.0), _one(0.5))[0] == pytest.approx(norm.cdf(-0.5))


def test_coefficients_are_those_that_another_optimiser_finds() -> None:
    random = np.random.default_rng(0)
    columns, prior = random.normal(0, 1, (400, 3)), np.array([1.0, 0.5, 2.0])
    sign = np.where(random.random(400) < norm.cdf(columns @ [1.0, -0.4, 0.0]), 1.0, -1.0)
    lapse = np.full(400, 0.08)

    def loss(w: np.ndarray) -> float:
        chance = 0.08 + 0.84 * norm.cdf(sign * (columns @ w))
        return float(-np.log(chance).sum() + 0.5 * ((w / prior) ** 2).sum())

    expected = minimize(loss, np.zeros(3), method="BFGS", options={"gtol": 1e-8}).x
    assert fit(columns, sign, lapse, prior=prior) == pytest.approx(expected, abs=1e-4)


def test_columns_that_say_nothing_shrink_and_those_that_tell_do_not() -> None:
    random = np.random.default_rng(1)
    columns = random.normal(0, 1, (600, 12))
    sign = np.where(random.random(600) < norm.cdf(1.2 * columns[:, 0]), 1.0, -1.0)
    lapse, prior = np.full(600, 0.02), np.ones(12)
    groups = np.array([0] + [1] * 11)
    plain, (tuned, _) = (
        fit(columns, sign, lapse, prior=prior),
        tune(columns, sign, lapse, prior=prior, groups=groups),
    )
    assert tuned[0] == pytest.approx(1.2, abs=0.25)
    assert np.square(tuned[1:]).sum() < 0.6 * np.square(plain[1:]).sum()


def test_raters_get_the_rates_at_which_they_answer_and_their_record_decides_how_far() -> None:
    random = np.random.default_rng(2)
    true = np.where(np.arange(60) < 15, 0.5, 0.02)
    of = np.repeat(np.arange(60), 80)
    sure = np.full(len(of), 0.95)
    as_meant = random.random(len(of)) < 0.95
    agrees = as_meant != (random.random(len(of)) < true[of])
    records = record(np.where(agrees, sure, 1 - sure), of, 61)
    found = rates(records, shares(records))
    assert found[:15].min() > 0.3
    assert found[15:60].max() < 0.2
    # A rater without a record is the average one.
    assert found[60] == pytest.approx(shares(records) @ RATES)
    assert 0.08 < found[60] < 0.22


def test_raters_who_do_not_differ_share_one_rate() -> None:
    random = np.random.default_rng(3)
    of = np.repeat(np.arange(40), 30)
    agrees = random.random(len(of)) < 0.9 * 0.8 + 0.1 * 0.2
    records = record(np.where(agrees, 0.9, 0.1), of, 40)
    found = rates(records, shares(records))
    assert found.max() - found.min() < 0.05
    assert found.mean() == pytest.approx(0.2, abs=0.06)
