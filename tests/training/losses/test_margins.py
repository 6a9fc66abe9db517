"""IPO and the hinge on Diffusion-DPO's logit, by hand."""

import pytest
import torch

from training.losses.margins import hinge, ipo

POLICY = torch.tensor([0.08, 0.12, 0.21, 0.19])
REFERENCE = torch.tensor([0.10, 0.10, 0.20, 0.20])  # logits 3 and −3 at β = 200


def test_ipo_is_the_squared_distance_from_one_half() -> None:
    found = ipo(POLICY, REFERENCE, beta=200)
    torch.testing.assert_close(found.losses, torch.tensor([2.5**2, 3.5**2]), rtol=1e-4, atol=1e-4)
    assert ipo(REFERENCE, REFERENCE.clone(), beta=200).loss.item() == 0.25
    assert found.implicit_accuracy == 0.5


def test_ipo_is_the_papers_loss_times_beta_squared() -> None:
    beta = 200.0
    gap = (POLICY - REFERENCE).view(2, 2)
    ratio = -0.5 * (gap[0] - gap[1])  # h, the difference of log ratios
    paper = (ratio - 1 / (2 * beta)).square()
    torch.testing.assert_close(ipo(POLICY, REFERENCE, beta=beta).losses, beta**2 * paper, rtol=1e-4, atol=1e-4)


def test_ipo_has_its_minimum_at_the_margin_that_the_preference_asks_for() -> None:
    for preference, wanted in ((1.0, 0.5), (0.75, 0.25), (0.5, 0.0), (0.25, -0.25)):
        # z = −½ · 2 · (p_w − 0.5): the winner's error that has the logit wanted
        policy = torch.tensor([0.5 - wanted, 0.5], requires_grad=True)
        given = torch.tensor([preference])
        ipo(policy, torch.tensor([0.5, 0.5]), beta=2, preference=given).loss.backward()
        assert policy.grad is not None
        torch.testing.assert_close(policy.grad, torch.zeros(2), rtol=0, atol=1e-6)


def test_the_hinge_leaves_pairs_beyond_its_margin_alone() -> None:
    policy = POLICY.clone().requires_grad_()
    found = hinge(policy, REFERENCE, beta=200)
    torch.testing.assert_close(found.losses, torch.tensor([0.0, 4.0]), rtol=1e-4, atol=1e-4)
    found.loss.backward()
    # d loss / d p = β/2 over 2 pairs, for the second pair only
    torch.testing.assert_close(policy.grad, torch.tensor([0.0, 50.0, 0.0, -50.0]))
    assert hinge(REFERENCE, REFERENCE.clone(), beta=200).loss.item() == 1


def test_weights_and_soft_labels_of_the_hinge() -> None:
    given = torch.tensor([0.75, 1.0])
    found = hinge(POLICY, REFERENCE, beta=200, preference=given, weight=torch.tensor([2.0, 0.5]))
    # 2 · (0.75 · 0 + 0.25 · 4) and 0.5 · 4
    torch.testing.assert_close(found.losses, torch.tensor([2.0, 2.0]), rtol=1e-4, atol=1e-4)
    assert found.loss.item() == pytest.approx(2.0, abs=1e-4)
