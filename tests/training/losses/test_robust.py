"""Robust DPO, against its formula worked by hand."""

import math

import pytest
import torch

from training.losses.dpo import diffusion_dpo
from training.losses.robust import robust_dpo

POLICY = torch.tensor([0.08, 0.12, 0.21, 0.19])
REFERENCE = torch.tensor([0.10, 0.10, 0.20, 0.20])  # logits 3 and −3 at β = 200
RIGHT, WRONG = math.log1p(math.exp(-3)), math.log1p(math.exp(3))


def test_two_pairs_by_hand() -> None:
    found = robust_dpo(POLICY, REFERENCE, beta=200, flip_rate=0.1)
    first, second = (0.9 * RIGHT - 0.1 * WRONG) / 0.8, (0.9 * WRONG - 0.1 * RIGHT) / 0.8
    torch.testing.assert_close(found.losses, torch.tensor([first, second]), rtol=1e-4, atol=1e-4)
    assert found.loss.item() == pytest.approx((first + second) / 2, abs=1e-4)


def test_without_flips_it_is_dpo_and_at_the_reference_ln_2() -> None:
    assert robust_dpo(POLICY, REFERENCE, beta=200).loss == diffusion_dpo(POLICY, REFERENCE, beta=200).loss
    same = robust_dpo(REFERENCE, REFERENCE.clone(), beta=200, flip_rate=0.3)
    assert same.loss.item() == pytest.approx(math.log(2))


def test_on_average_over_flipped_labels_it_is_the_loss_of_true_labels() -> None:
    swapped = [torch.cat([errors[2:], errors[:2]]) for errors in (POLICY, REFERENCE)]
    for rate in (0.05, 0.2, 0.35):
        seen_right = robust_dpo(POLICY, REFERENCE, beta=200, flip_rate=rate).losses
        seen_flipped = robust_dpo(*swapped, beta=200, flip_rate=rate).losses
        clean = diffusion_dpo(POLICY, REFERENCE, beta=200).losses
        torch.testing.assert_close((1 - rate) * seen_right + rate * seen_flipped, clean)


def test_a_pairs_own_preference_is_its_rate_and_the_uniform_one_comes_on_top() -> None:
    sure = robust_dpo(POLICY, REFERENCE, beta=200, preference=torch.tensor([0.9, 0.9]))
    torch.testing.assert_close(sure.losses, robust_dpo(POLICY, REFERENCE, beta=200, flip_rate=0.1).losses)
    # right with 0.9 and then flipped with 0.2: 0.9 · 0.8 + 0.1 · 0.2 = 0.74
    both = robust_dpo(POLICY, REFERENCE, beta=200, preference=torch.tensor([0.9, 0.9]), flip_rate=0.2)
    torch.testing.assert_close(both.losses, robust_dpo(POLICY, REFERENCE, beta=200, flip_rate=0.26).losses)


def slope(preference: float, bound: float, gain: float = 0.0) -> float:
    """d loss / d winner's error of one pair whose logit at β = 2 is `gain`."""
    policy = torch.tensor([0.5 - gain, 0.5], requires_grad=True)
    given = torch.tensor([preference])
    robust_dpo(policy, torch.tensor([0.5, 0.5]), beta=2, bound=bound, preference=given).loss.backward()
    assert policy.grad is not None
    return float(policy.grad[0])


def test_as_a_label_says_less_its_factor_grows_to_the_bound_and_then_falls_to_nothing() -> None:
    # At z = 0 both directions have slope ½, so (1 − ε) + ε over 1 − 2ε leaves ½ · 1/(1 − 2ε).
    assert slope(1.0, bound=5) == pytest.approx(0.5)
    assert slope(0.75, bound=5) == pytest.approx(1.0)
    assert slope(0.6, bound=5) == pytest.approx(2.5)  # 1 − 2ε = 0.2, exactly the bound
    assert slope(0.55, bound=5) == pytest.approx(0.5 * 0.1 * 25)
    assert slope(0.5, bound=5) == 0
    assert slope(0.55, bound=100) == pytest.approx(5.0)


def test_a_pair_more_likely_wrong_than_right_is_learnt_the_other_way_round() -> None:
    assert slope(0.25, bound=5) == pytest.approx(-slope(0.75, bound=5))
    assert slope(0.0, bound=5) == pytest.approx(-0.5)


def test_a_learnt_pair_goes_on_pulling_by_eps_over_one_minus_two_eps() -> None:
    # dL/dz = −[(1 − ε)·σ(−z) + ε·σ(z)] / (1 − 2ε) → −ε/(1 − 2ε) = −0.5 at ε = ¼, where DPO's goes to 0
    assert slope(0.75, bound=5, gain=30) == pytest.approx(0.5, abs=1e-6)
    assert slope(1.0, bound=5, gain=30) == pytest.approx(0.0, abs=1e-6)
