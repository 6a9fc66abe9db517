"""MaPO, against its formula."""

import math

import pytest
import torch

from training.losses.mapo import mapo


def phi(error: float, snr: float = 0.5) -> float:
    return snr * error / (math.exp(snr * error) - 1)


def test_one_pair_by_hand() -> None:
    found = mapo(torch.tensor([0.10, 0.11]), beta=0.1)
    logit = 1000 * (phi(0.10) - phi(0.11))
    assert 2.4 < logit < 2.5  # about 1000 · ¼ · 0.01
    assert found.logit is not None
    assert found.logit.item() == pytest.approx(logit, abs=1e-3)
    assert found.loss.item() == pytest.approx(0.10 + 0.1 * math.log1p(math.exp(-logit)), abs=1e-5)


def test_it_needs_no_reference_and_begins_where_the_model_stands() -> None:
    even = mapo(torch.tensor([0.2, 0.2]), beta=0.1)
    assert even.loss.item() == pytest.approx(0.2 + 0.1 * math.log(2))
    assert even.implicit_accuracy == 0.5
    assert mapo(torch.tensor([0.2, 0.1, 0.1, 0.2]), beta=0.1).implicit_accuracy == 0.5
    assert mapo(torch.tensor([0.1, 0.2])).implicit_accuracy == 1


def test_without_beta_it_is_fine_tuning_on_winners() -> None:
    policy = torch.tensor([0.3, 0.1, 0.7, 0.2], requires_grad=True)
    found = mapo(policy, beta=0.0)
    found.loss.backward()
    assert found.loss.item() == pytest.approx(0.2)
    torch.testing.assert_close(policy.grad, torch.tensor([0.5, 0.5, 0.0, 0.0]))


def test_an_error_of_zero_has_the_limit_of_its_score_and_a_finite_gradient() -> None:
    policy = torch.tensor([0.0, 1e-9, 0.2, 1e-3], requires_grad=True)
    found = mapo(policy)
    found.loss.backward()
    assert found.logit is not None
    assert found.logit[0].item() == pytest.approx(1000 * (1 - phi(0.2)), abs=1e-2)
    assert policy.grad is not None
    assert policy.grad.isfinite().all()


def test_a_huge_error_has_a_score_of_zero_and_a_finite_gradient() -> None:
    # At s·p = 200 the plain form divides by e²⁰⁰, which is no float32, and its gradient is 0 · ∞.
    policy = torch.tensor([400.0, 0.2], requires_grad=True)
    found = mapo(policy)
    found.loss.backward()
    assert found.logit is not None
    assert found.logit.item() == pytest.approx(-1000 * phi(0.2), rel=1e-5)
    # The margin pulls no more on the winner, its own error does; σ(−z) is 1, so the loser's slope is β·T·φ′(0.2).
    slope = 0.1 * 1000 * (phi(0.2 + 1e-5) - phi(0.2 - 1e-5)) / 2e-5
    torch.testing.assert_close(policy.grad, torch.tensor([1.0, slope]), rtol=1e-3, atol=1e-3)


def test_swapping_winner_and_loser_negates_the_logit() -> None:
    policy = torch.tensor([0.3, 0.1, 0.7, 0.2])
    straight, crossed = mapo(policy).logit, mapo(torch.tensor([0.7, 0.2, 0.3, 0.1])).logit
    assert straight is not None
    assert crossed is not None
    torch.testing.assert_close(straight, -crossed)


def test_a_preference_is_the_expectation_over_which_image_is_better() -> None:
    policy = torch.tensor([0.10, 0.11])
    straight, crossed = mapo(policy).loss.item(), mapo(policy.flip(0)).loss.item()
    soft = mapo(policy, preference=torch.tensor([0.75])).loss.item()
    assert soft == pytest.approx(0.75 * straight + 0.25 * crossed, abs=1e-6)
    assert mapo(policy, weight=torch.tensor([2.0])).loss.item() == pytest.approx(2 * straight)


def test_errors_that_are_no_pairs_are_refused() -> None:
    with pytest.raises(ValueError, match="even length"):
        mapo(torch.zeros(3))
