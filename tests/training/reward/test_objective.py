"""PickScore's objective, against its formula."""

import math

import numpy as np
import pytest
import torch

from training.reward.objective import example_weights, preference_loss
from training.reward.split import SPLITS, split_of


def test_it_is_the_cross_entropy_of_the_softmax_over_the_pair() -> None:
    scores = torch.tensor([[2.0, -1.0, 0.5], [1.0, 0.5, 0.25]])
    label = torch.tensor([1.0, 0.0, 0.5])
    weight = torch.tensor([1.0, 0.5, 0.25])
    target = torch.stack([label, 1 - label])
    wanted = (-(target * scores.log_softmax(0)).sum(0) * weight).sum() / weight.sum()
    found = preference_loss(scores[0] - scores[1], label, weight, total=float(weight.sum()))
    assert float(found) == pytest.approx(float(wanted), rel=1e-6)


def test_scores_that_say_nothing_cost_ln_2_and_a_tie_wants_them_equal() -> None:
    one = torch.ones(1)
    assert float(preference_loss(torch.zeros(1), one, one, total=1.0)) == pytest.approx(math.log(2))
    gap = torch.tensor([0.7], requires_grad=True)
    preference_loss(gap, torch.tensor([0.5]), one, total=1.0).backward()
    assert float(gap.grad) == pytest.approx(1 / (1 + math.exp(-0.7)) - 0.5)


def test_smoothing_moves_a_label_towards_a_half() -> None:
    gap, one = torch.tensor([3.0]), torch.ones(1)
    smoothed = preference_loss(gap, one, one, total=1.0, smoothing=0.2)
    assert float(smoothed) == pytest.approx(float(preference_loss(gap, one * 0.9, one, total=1.0)))


def test_each_prompt_weighs_one_however_many_pairs_it_has() -> None:
    weights = example_weights(np.array([7, 7, 7, 9]), "prompt")
    assert weights == pytest.approx([1 / 3, 1 / 3, 1 / 3, 1])
    assert example_weights(np.array([7, 7, 9]), "none").tolist() == [1, 1, 1]


def test_no_cluster_is_in_two_splits_and_each_stays_where_it_is_as_the_dataset_grows() -> None:
    clusters = [f"cluster-{n % 400}" for n in range(1000)]
    found = split_of(clusters, validation=0.2, test=0.1, seed=0)
    places: dict[str, set[int]] = {}
    for cluster, place in zip(clusters, found, strict=True):
        places.setdefault(cluster, set()).add(int(place))
    assert all(len(each) == 1 for each in places.values())
    shares = np.bincount(found, minlength=3) / 1000
    assert shares == pytest.approx([0.7, 0.2, 0.1], abs=0.06)
    later = split_of([*clusters, *(f"new-{n}" for n in range(500))], validation=0.2, test=0.1, seed=0)
    assert (later[:1000] == found).all()
    assert (split_of(clusters, validation=0.2, test=0.1, seed=1) != found).any()
    assert SPLITS == ("training", "validation", "test")
