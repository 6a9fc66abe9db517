"""Values, intervals and differences by formulas that can be worked by hand."""

import math

import numpy as np
import pytest

from training.intervals import between, effective, wilson
from training.study.statistics import Compared, compare
from training.study.tallies import Tally


def tally(part: list[float], whole: list[float], first: int = 0) -> Tally:
    prompts = tuple(f"p{number:03d}" for number in range(first, first + len(part)))
    return Tally(prompts, np.array(part), np.array(whole))


def test_a_mean_weighs_every_pair_alike_and_not_every_prompt() -> None:
    found = compare({("a", 0): tally([1, 0], [1, 3])}, how="mean", baseline=None)["a"]
    assert found.mean.value == 1 / 4
    assert found.over_random is None


def test_as_many_prompts_with_equally_many_pairs_are_worth_their_number() -> None:
    # Four prompts of five pairs: Σ n ln n = 20 ln 5, N = 20, so e^(ln 20 − ln 5) = 4.
    equal = compare({("a", 0): tally([5 * math.log(5)] * 4, [5] * 4)}, how="perplexity", baseline=None)["a"]
    assert equal.mean.value == pytest.approx(4)
    # Shares 1/2, 1/4, 1/4 have an entropy of 1.5 ln 2.
    shares = tally([2 * math.log(2), 0, 0], [2, 1, 1])
    found = compare({("a", 0): shares}, how="perplexity", baseline=None)["a"]
    assert found.mean.value == pytest.approx(2**1.5)


def test_the_interval_of_independent_prompts_is_that_of_their_mean() -> None:
    rng = np.random.default_rng(0)
    right = (rng.random(400) < 0.7).astype(float)
    found = compare({("a", 0): tally(list(right), [1.0] * 400)}, how="proportion", baseline=None)["a"].mean
    half = 1.96 * math.sqrt(right.mean() * (1 - right.mean()) / 400)
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.08)
    assert found.low < right.mean() < found.high


def test_pairs_of_one_prompt_are_not_independent_evidence() -> None:
    rng = np.random.default_rng(1)
    right = (rng.random(40) < 0.7).astype(float)
    apart = compare({("a", 0): tally(list(np.repeat(right, 9)), [1.0] * 360)}, how="mean", baseline=None)["a"].mean
    grouped = compare({("a", 0): tally(list(9 * right), [9.0] * 40)}, how="mean", baseline=None)["a"].mean
    assert grouped.value == apart.value
    assert grouped.high - grouped.low > 2.5 * (apart.high - apart.low)  # √9 = 3


def test_a_difference_is_paired_prompt_by_prompt() -> None:
    rng = np.random.default_rng(2)
    base = rng.random(200)
    cells = {
        ("random", 0): tally(list(base), [1.0] * 200),
        ("better", 0): tally(list(base + 0.1), [1.0] * 200),
    }
    found = compare(cells, how="mean", baseline="random")
    better = found["better"].over_random
    assert better is not None and found["random"].over_random is None
    assert (better.low, better.value, better.high) == pytest.approx((0.1, 0.1, 0.1))
    assert found["better"].mean.high - found["better"].mean.low > 0.05  # unpaired it could not be told


def test_seeds_are_averaged_and_each_is_told() -> None:
    cells = {("a", seed): tally([right, right], [10, 10]) for seed, right in ((0, 6), (1, 9), (5, 6))}
    found: Compared = compare(cells, how="proportion", baseline=None)["a"]
    assert found.seeds == {0: 0.6, 1: 0.9, 5: 0.6}
    assert found.mean.value == pytest.approx(0.7)


def test_of_nothing_but_right_labels_wilson_says_how_sure_that_is() -> None:
    # For a share of 1, Wilson's lower limit is n / (n + z²).
    found = compare({("a", 0): tally([2] * 10, [2] * 10)}, how="proportion", baseline=None)["a"].mean
    assert (found.low, found.value, found.high) == pytest.approx((10 / (10 + 1.959964**2), 1.0, 1.0))
    covered = compare({("a", 0): tally([1] * 10, [1] * 10)}, how="mean", baseline=None)["a"].mean
    assert (covered.low, covered.high) == (1.0, 1.0)


def test_unequal_prompts_count_as_fewer() -> None:
    assert effective(np.array([3.0, 3.0, 3.0, 0.0])) == pytest.approx(3)
    assert effective(np.array([9.0, 1.0])) == pytest.approx(100 / 82)
    assert effective(np.zeros(3)) == 0


def test_a_difference_of_proportions_is_newcombes() -> None:
    # Newcombe, Statistics in Medicine 17 (1998) 873–890, table II, method 10: 56/70 − 48/80 is in [0.0524, 0.3339].
    found = between(wilson(56 / 70, 70), wilson(48 / 80, 80))
    assert (found.value, found.low, found.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)


def test_what_nobody_could_count_has_no_value() -> None:
    cells = {("a", 0): tally([0, 0], [0, 0]), ("random", 0): tally([1, 0], [1, 1])}
    found = compare(cells, how="proportion", baseline="random")
    assert math.isnan(found["a"].mean.value) and found["random"].mean.value == 0.5
