"""Diffusion-KTO, against its formula."""

import math

import pytest
import torch

from training.losses.kto import diffusion_kto

POLICY = torch.tensor([0.08, 0.12, 0.21, 0.19])
REFERENCE = torch.tensor([0.10, 0.10, 0.20, 0.20])  # gains 0.02, −0.02 of winners, −0.01, 0.01 of losers: mean 0


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def test_two_pairs_by_hand() -> None:
    found = diffusion_kto(POLICY, REFERENCE, beta=100)
    # winners 1 − σ(±2), losers 1 − σ(−β·gain): 1 − σ(1), 1 − σ(−1)
    first, second = (1 - sigmoid(2) + 1 - sigmoid(1)) / 2, (1 - sigmoid(-2) + 1 - sigmoid(-1)) / 2
    torch.testing.assert_close(found.losses, torch.tensor([first, second]), rtol=1e-4, atol=1e-5)
    assert found.loss.item() == pytest.approx((first + second) / 2, abs=1e-5)
    assert found.logit is not None
    torch.testing.assert_close(found.logit, torch.tensor([3.0, -3.0]), rtol=1e-4, atol=1e-4)


def test_at_the_reference_it_is_one_half_and_pulls_by_beta_over_four_of_the_mean() -> None:
    policy = REFERENCE.clone().requires_grad_()
    found = diffusion_kto(policy, REFERENCE, beta=100)
    found.loss.backward()
    assert found.loss.item() == 0.5
    assert found.implicit_accuracy == 0.5
    torch.testing.assert_close(policy.grad, 100 / 4 / 4 * torch.tensor([1.0, 1.0, -1.0, -1.0]))


def test_the_reference_point_is_the_mean_gain_of_all_images_and_never_below_zero() -> None:
    better = REFERENCE - torch.tensor([0.04, 0.02, 0.02, 0.00])  # mean gain 0.02
    found = diffusion_kto(better, REFERENCE, beta=100)
    expected = [(1 - sigmoid(2) + 1 - sigmoid(-0.0)) / 2, (1 - sigmoid(0) + 1 - sigmoid(2)) / 2]
    torch.testing.assert_close(found.losses, torch.tensor(expected), rtol=1e-4, atol=1e-5)
    worse = REFERENCE + 0.02  # mean gain −0.02, clamped to 0
    expected = [(1 - sigmoid(-2) + 1 - sigmoid(2)) / 2] * 2
    torch.testing.assert_close(
        diffusion_kto(worse, REFERENCE, beta=100).losses, torch.tensor(expected), rtol=1e-4, atol=1e-5
    )


def test_no_gradient_flows_through_the_reference_point() -> None:
    better = (REFERENCE - torch.tensor([0.05, 0.03, 0.00, 0.00])).requires_grad_()  # mean gain 0.02
    diffusion_kto(better, REFERENCE, beta=100).loss.backward()
    # d/dp of 1 − σ(y·β·(r − p − K)) is y·β·σ(u)·σ(−u), over 4 images; u = 3, 1, 2 and 2. With K's own gradient each
    # would have a quarter of their sum less, which is not 0 here.
    slopes = [100 * sigmoid(u) * sigmoid(-u) / 4 for u in (3, 1, 2, 2)]
    expected = torch.tensor([slopes[0], slopes[1], -slopes[2], -slopes[3]])
    assert abs(float(expected.sum())) > 0.5
    torch.testing.assert_close(better.grad, expected, rtol=1e-3, atol=1e-3)


def test_likes_and_dislikes_have_weights_and_labels_may_be_soft() -> None:
    only_likes = diffusion_kto(POLICY, REFERENCE, beta=100, undesirable=0.0)
    torch.testing.assert_close(
        only_likes.losses, torch.tensor([1 - sigmoid(2), 1 - sigmoid(-2)]) / 2, rtol=1e-4, atol=1e-5
    )
    straight = diffusion_kto(POLICY, REFERENCE, beta=100).losses
    swapped = diffusion_kto(POLICY[[2, 3, 0, 1]], REFERENCE[[2, 3, 0, 1]], beta=100).losses
    soft = diffusion_kto(POLICY, REFERENCE, beta=100, preference=torch.tensor([0.75, 1.0]))
    torch.testing.assert_close(soft.losses, torch.stack([0.75 * straight[0] + 0.25 * swapped[0], straight[1]]))


def test_pairs_count_in_the_reference_point_by_their_weight() -> None:
    # Mean gains of the pairs are 0.03 and 0.01, so 0.025 where the first has three times the second's weight.
    better = REFERENCE - torch.tensor([0.04, 0.02, 0.02, 0.00])
    found = diffusion_kto(better, REFERENCE, beta=100, weight=torch.tensor([1.5, 0.5]))
    first = (1 - sigmoid(1.5) + sigmoid(-0.5)) / 2
    second = (1 - sigmoid(-0.5) + sigmoid(-2.5)) / 2
    torch.testing.assert_close(found.losses, torch.tensor([1.5 * first, 0.5 * second]), rtol=1e-3, atol=1e-4)


def test_a_pair_of_weight_zero_has_no_part_in_the_step_and_a_step_of_such_pairs_is_zero() -> None:
    better = REFERENCE - torch.tensor([0.04, 0.50, 0.02, 0.30])
    alone = diffusion_kto(better[[0, 2]], REFERENCE[[0, 2]], beta=100).losses
    found = diffusion_kto(better, REFERENCE, beta=100, weight=torch.tensor([1.0, 0.0])).losses
    torch.testing.assert_close(found, torch.stack([alone[0], torch.tensor(0.0)]))
    assert diffusion_kto(better, REFERENCE, beta=100, weight=torch.zeros(2)).loss == 0
