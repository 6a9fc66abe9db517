"""Win rates, raw scores and their intervals, against numbers worked by hand."""

import numpy as np
import pytest
from scipy import stats

from training.evaluation.winrates import Margin, repeatability, sign_test, win_rate


def test_a_win_is_one_a_tie_one_half_a_loss_nothing() -> None:
    base = np.zeros(4, np.float32)
    run = np.array([1, -1, 0.01, 0.5], np.float32)
    rate = win_rate("judge", base, run, ["a", "a", "b", "b"], margin=0.02)
    assert (rate.wins, rate.ties, rate.losses) == (2, 1, 1)
    assert rate.rate == pytest.approx(2.5 / 4)
    assert rate.mean_run - rate.mean_base == pytest.approx(0.1275)


def test_the_interval_holds_the_rate_and_is_repeatable() -> None:
    generator = np.random.default_rng(0)
    base, run = generator.normal(0, 1, 200), generator.normal(0.3, 1, 200)
    prompts = [f"prompt {i % 25}" for i in range(200)]
    first = win_rate("judge", base.astype(np.float32), run.astype(np.float32), prompts)
    assert first.low < first.rate < first.high
    assert first == win_rate("judge", base.astype(np.float32), run.astype(np.float32), prompts)


def test_images_of_one_prompt_are_not_independent_evidence() -> None:
    # Ten prompts, each all wins or all losses: forty images say no more than ten do.
    credit = np.repeat([1.0, -1.0] * 5, 4).astype(np.float32)
    zero = np.zeros(40, np.float32)
    grouped = win_rate("judge", zero, credit, [f"p{i // 4}" for i in range(40)])
    apart = win_rate("judge", zero, credit, [f"p{i}" for i in range(40)])
    assert grouped.high - grouped.low > 1.5 * (apart.high - apart.low)


def test_the_bootstrap_covers_the_truth_about_nineteen_times_in_twenty() -> None:
    generator = np.random.default_rng(1)
    prompts = [f"p{i}" for i in range(40)]
    hits = 0
    for _ in range(200):
        run = np.where(generator.random(40) < 0.7, 1.0, -1.0).astype(np.float32)
        rate = win_rate("judge", np.zeros(40, np.float32), run, prompts)
        hits += rate.low <= 0.7 <= rate.high
    assert 0.86 <= hits / 200 <= 0.99


def test_medians_are_over_prompts_of_each_prompts_mean() -> None:
    # Means of a, b, c: 1, 5, 9 for the base and 2, 5, 7 for the run.
    base, run = np.float32([0, 2, 5, 5, 8, 10]), np.float32([2, 2, 4, 6, 7, 7])
    found = win_rate("judge", base, run, ["a", "a", "b", "b", "c", "c"])
    assert found.median_base is not None and found.median_run is not None and found.median_gain is not None
    assert (found.median_base.value, found.median_run.value, found.median_gain.value) == (5, 5, 0)
    assert found.median_base.low >= 1 and found.median_base.high <= 9
    assert found.gain is not None and found.gain.value == pytest.approx(-1 / 3)


def test_the_sign_test_counts_prompts_that_have_a_winner() -> None:
    # Eight for, one against, two tied: twice the tail P(X ≥ 8) of nine tosses, 2 · 10 / 512.
    assert sign_test(np.array([1.0] * 7 + [0.75, 0.25, 0.5, 0.5])) == pytest.approx(20 / 512)
    assert sign_test(np.array([0.5, 0.5])) == 1


def test_a_rate_of_one_has_wilsons_interval_as_no_resample_knows_another() -> None:
    found = win_rate("judge", np.zeros(20, np.float32), np.ones(20, np.float32), [f"p{i // 2}" for i in range(20)])
    known = stats.binomtest(10, 10).proportion_ci(method="wilson")
    assert (found.low, found.high) == pytest.approx((known.low, known.high))


def test_repeatability_is_the_difference_that_nineteen_in_twenty_repeats_stay_below() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(0, 5, 20_000)
    first, again = (truth + rng.normal(0, 0.3, truth.shape) for _ in range(2))
    margin = repeatability(first.astype(np.float32), again.astype(np.float32))
    # Two repeats differ with deviation 0.3 √2.
    assert margin == pytest.approx(1.96 * 0.3 * np.sqrt(2), rel=0.02)
    assert np.mean(np.abs(first - again) < margin) == pytest.approx(0.95, abs=0.01)


def test_where_a_margin_comes_from_is_kept_with_it() -> None:
    scores = np.float32([1.0, 1.04])
    found = win_rate("judge", scores, scores + np.float32(0.03), ["a", "b"], margin=Margin(0.05, "repeatability"))
    assert found.ties == 2 and found.margin == Margin(0.05, "repeatability")


def test_prompts_that_are_all_alike_or_only_one_make_nobody_sure() -> None:
    # Each prompt wins once and loses once, so that no resample has another rate than one half; Wilson's limits of 5 in
    # 10 are 0.2366 and 0.7634.
    half = np.tile(np.float32([1, -1]), 10)
    found = win_rate("judge", np.zeros(20, np.float32), half, [f"p{i // 2}" for i in range(20)])
    assert (found.rate, found.low, found.high) == pytest.approx((0.5, 0.2366, 0.7634), abs=5e-5)
    alone = win_rate("judge", np.zeros(20, np.float32), half, ["p"] * 20)
    assert alone.rate == 0.5 and alone.high - alone.low > 0.7
    assert alone.gain is not None and np.isnan([alone.gain.low, alone.gain.high]).all()
