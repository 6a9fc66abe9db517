"""Each published protocol on numbers worked by hand; each would notice another's rule."""

import math

import numpy as np
import pytest

from training.reward.protocols import (
    THRESHOLDS,
    accuracy,
    by_chance,
    by_majority,
    calibration,
    difference,
    hpdv2,
    imagerewarddb,
    pickapic,
    probability,
    temperature,
    tuned_threshold,
)


def logit(p: float) -> float:
    return math.log(p / (1 - p))


LABEL = np.array([1.0, 1.0, 0.0, 0.5, 0.5, 1.0])
GAP = np.array([logit(0.9), logit(0.6), logit(0.9), logit(0.55), logit(0.9), logit(0.2)])
"""p₀ is 0.9, 0.6, 0.9, 0.55, 0.9, 0.2, so |p₀ − p₁| is 0.8, 0.2, 0.8, 0.1, 0.8, 0.6."""


def test_a_gap_is_the_logit_of_the_first_however_large() -> None:
    assert probability(np.array([0.0, logit(0.75), 900.0, -900.0])) == pytest.approx([0.5, 0.75, 1.0, 0.0])


def test_pickapic_gives_half_credit_where_one_side_is_a_tie() -> None:
    # Threshold 0.3 predicts: 0, tie, 0, tie, 0, 1. Right, half, wrong, right, half, wrong.
    assert pickapic(GAP, LABEL, threshold=0.3).tolist() == [1, 0.5, 0, 1, 0.5, 0]
    # Without a threshold nothing but equal scores is a tie.
    assert pickapic(GAP, LABEL, threshold=0.0).tolist() == [1, 1, 0, 0.5, 0.5, 0]
    assert pickapic(np.zeros(2), np.array([0.5, 1.0]), threshold=0.0).tolist() == [1, 0.5]


def test_the_threshold_is_the_best_of_the_grid_on_validation() -> None:
    assert THRESHOLDS == (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
    gaps = np.array([logit(0.9), logit(0.6), logit(0.66)])  # apart by 0.8, 0.2, 0.32
    assert tuned_threshold(gaps, np.array([1.0, 0.5, 1.0])) == 0.2  # 0.3 does as well: the smallest of equals
    assert tuned_threshold(gaps, np.array([0.0, 0.5, 0.5])) == 0.8


def test_imagerewarddb_leaves_ties_out_and_takes_equal_scores_for_wrong() -> None:
    credit = imagerewarddb(np.array([2.0, 0.0, -1.0, 3.0, -0.1]), np.array([1.0, 1.0, 0.0, 0.5, 1.0]))
    assert credit[[0, 1, 2, 4]].tolist() == [1, 0, 1, 0] and math.isnan(credit[3])
    found = accuracy(credit, np.arange(5))
    assert (found.value, found.pairs, found.prompts) == (0.5, 4, 4)


def test_hpdv2_is_one_minus_the_share_of_inversions_of_a_ranking() -> None:
    # Four images, truly ranked 0 1 2 3; the scores rank them 1 0 3 2: of six pairs, (0,1) and (2,3) are inverted.
    scores = np.array([0.8, 0.9, 0.1, 0.2])
    first, second = np.array([0, 0, 0, 1, 1, 2]), np.array([1, 2, 3, 2, 3, 3])
    credit = hpdv2(
        scores[first], scores[second], np.ones(6), image_0=first, image_1=second, prompt=np.zeros(6, np.int64)
    )
    assert credit.tolist() == [0, 1, 1, 1, 1, 0]
    assert accuracy(credit, np.zeros(6), by_prompt=True).value == pytest.approx(1 - 2 / 6)


def test_hpdv2_ranks_equal_scores_and_forgives_tied_labels() -> None:
    image_0, image_1, prompt = np.array([0, 3, 4]), np.array([1, 2, 5]), np.array([0, 0, 1])
    equal = np.full(3, 0.5)
    credit = hpdv2(equal, equal, np.array([1.0, 1.0, 0.5]), image_0=image_0, image_1=image_1, prompt=prompt)
    assert credit.tolist() == [1, 0, 1]  # by position image 0 comes before 1, and 2 before 3
    # Prompts count alike, however many pairs they have.
    assert accuracy(credit, prompt, by_prompt=True).value == pytest.approx((0.5 + 1) / 2)
    assert accuracy(credit, prompt).value == pytest.approx(2 / 3)


def test_one_model_has_three_accuracies() -> None:
    image = np.arange(6)
    credits = (
        pickapic(GAP, LABEL, threshold=0.3),
        imagerewarddb(GAP, LABEL),
        hpdv2(GAP, np.zeros(6), LABEL, image_0=image, image_1=image + 6, prompt=image),
    )
    found = [accuracy(credit, image).value for credit in credits]
    assert found == pytest.approx([3 / 6, 2 / 4, 4 / 6])


def test_chance_and_the_most_frequent_verdict_know_the_ties() -> None:
    label = np.array([1.0, 0.0, 0.5, 0.5])
    assert by_chance(label, "pickapic") == 0.5
    assert by_chance(label, "imagerewarddb") == 0.5
    assert by_chance(label, "hpdv2") == pytest.approx((0.5 + 0.5 + 1 + 1) / 4)
    # "Tie" is the best constant verdict here: ½, ½, 1, 1.
    assert by_majority(label, label).tolist() == [0.5, 0.5, 1, 1]
    assert by_majority(np.array([1.0, 1.0, 0.0]), label).tolist() == [1, 0, 0.5, 0.5]


def test_the_interval_is_over_prompts_not_pairs() -> None:
    rng = np.random.default_rng(0)
    prompt = np.repeat(np.arange(25), 40)
    credit = np.repeat((rng.random(25) < 0.6).astype(float), 40)  # pairs of a prompt agree entirely
    found = accuracy(credit, prompt)
    error = np.sqrt(found.value * (1 - found.value) / 25)  # of 25 independent prompts, not of 1000 pairs
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * error, rel=0.15)
    assert accuracy(credit, prompt) == found


def test_a_difference_is_paired() -> None:
    rng = np.random.default_rng(1)
    prompt = np.repeat(np.arange(50), 4)
    worse = (rng.random(200) < 0.5).astype(float)
    better = worse.copy()
    better[::10] = 1.0
    found = difference(better, worse, prompt)
    assert found.value == pytest.approx(float((better - worse).mean())) and found.low > 0
    assert accuracy(better, prompt).low < accuracy(worse, prompt).high  # apart, the two could not be told


def test_calibration_is_the_distance_from_what_was_said() -> None:
    gap = np.array([logit(0.9)] * 4 + [logit(0.3)] * 4)
    label = np.array([1, 1, 1, 0, 0, 0, 0.5, 1.0])
    # Said 0.9, right 3/4; said 0.7 for image 1, right (1 + 1 + ½ + 0)/4.
    found = calibration(gap, label)
    assert found.ece == pytest.approx(0.5 * 0.15 + 0.5 * (0.7 - 0.625))
    assert found.pairs == (4, 4) and found.right == pytest.approx((0.625, 0.75))
    assert calibration(np.full(10, logit(0.8)), np.array([1.0] * 8 + [0.0] * 2)).ece == pytest.approx(0, abs=1e-12)


def test_the_temperature_makes_scores_of_any_scale_logits() -> None:
    rng = np.random.default_rng(2)
    gap = rng.normal(0, 2, 20_000)
    label = (rng.random(20_000) < probability(gap)).astype(float)
    assert temperature(gap / 100, label) == pytest.approx(100, rel=0.05)
    assert temperature(-gap, label) == 0.0
    assert temperature(np.zeros(3), np.ones(3)) == 1.0
