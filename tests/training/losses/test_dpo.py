"""Diffusion-DPO as a function of errors, against numbers worked out by hand."""

import math

import pytest
import torch

from training.losses.dpo import diffusion_dpo
from training.losses.errors import denoising_error


def test_the_loss_at_the_reference_is_ln_2_and_every_logit_zero() -> None:
    errors = torch.tensor([0.3, 0.1, 0.2, 0.7])
    result = diffusion_dpo(errors, errors.clone(), beta=5000)
    assert result.loss.item() == pytest.approx(math.log(2), abs=1e-7)
    assert result.logit.abs().max() == 0
    assert result.implicit_accuracy == 0.5


def test_one_pair_by_hand() -> None:
    # winner: 0.10 → 0.08, loser: 0.20 → 0.21; −½·200·((0.08 − 0.21) − (0.10 − 0.20)) = 3
    result = diffusion_dpo(torch.tensor([0.08, 0.21]), torch.tensor([0.10, 0.20]), beta=200)
    assert result.logit.item() == pytest.approx(3.0, abs=1e-4)
    assert result.loss.item() == pytest.approx(math.log1p(math.exp(-3)), abs=1e-5)
    assert result.implicit_accuracy == 1.0


def test_a_preference_mixes_both_directions_and_a_weight_multiplies_by_hand() -> None:
    policy = torch.tensor([0.08, 0.12, 0.21, 0.19])
    reference = torch.tensor([0.10, 0.10, 0.20, 0.20])  # logits 3 and −3
    right, wrong = math.log1p(math.exp(-3)), math.log1p(math.exp(3))
    soft = diffusion_dpo(policy, reference, beta=200, preference=torch.tensor([0.75, 1.0]))
    assert soft.loss.item() == pytest.approx((0.75 * right + 0.25 * wrong + wrong) / 2, abs=1e-4)
    weighted = diffusion_dpo(policy, reference, beta=200, weight=torch.tensor([1.5, 0.5]))
    assert weighted.loss.item() == pytest.approx((1.5 * right + 0.5 * wrong) / 2, abs=1e-4)
    ones = torch.ones(2)
    plain = diffusion_dpo(policy, reference, beta=200)
    assert diffusion_dpo(policy, reference, beta=200, preference=ones, weight=ones).loss == plain.loss
    assert soft.implicit_accuracy == weighted.implicit_accuracy == plain.implicit_accuracy


def test_an_undecided_pair_pulls_back_to_the_reference() -> None:
    policy = torch.tensor([0.08, 0.21], requires_grad=True)  # logit 3 at β = 200
    diffusion_dpo(policy, torch.tensor([0.10, 0.20]), beta=200, preference=torch.tensor([0.5])).loss.backward()
    # d loss / d z = σ(3) − ½, and d z / d p_w = −100
    slope = 1 / (1 + math.exp(-3)) - 0.5
    torch.testing.assert_close(policy.grad, torch.tensor([-100 * slope, 100 * slope]), rtol=1e-3, atol=1e-3)


def test_label_smoothing_is_a_rate_of_wrong_labels_on_top_of_a_pairs_own() -> None:
    policy = torch.tensor([0.08, 0.12, 0.21, 0.19])
    reference = torch.tensor([0.10, 0.10, 0.20, 0.20])
    smooth = diffusion_dpo(policy, reference, beta=200, label_smoothing=0.1).losses
    torch.testing.assert_close(
        smooth, diffusion_dpo(policy, reference, beta=200, preference=torch.tensor([0.9, 0.9])).losses
    )
    # right with 0.8, then flipped with 0.1: 0.8 · 0.9 + 0.2 · 0.1 = 0.74
    both = diffusion_dpo(policy, reference, beta=200, preference=torch.tensor([0.8, 0.8]), label_smoothing=0.1).losses
    torch.testing.assert_close(
        both, diffusion_dpo(policy, reference, beta=200, preference=torch.tensor([0.74, 0.74])).losses
    )


def test_poly_dpo_adds_alpha_times_the_probability_of_being_wrong() -> None:
    policy = torch.tensor([0.08, 0.21], requires_grad=True)  # logit 3 at β = 200
    found = diffusion_dpo(policy, torch.tensor([0.10, 0.20]), beta=200, poly=8.0)
    right = 1 / (1 + math.exp(-3))
    assert found.loss.item() == pytest.approx(-math.log(right) + 8 * (1 - right), abs=1e-4)
    found.loss.backward()
    # d loss / d z = −(1 − p)(1 + α·p), d z / d p_w = −100
    slope = 100 * (1 - right) * (1 + 8 * right)
    torch.testing.assert_close(policy.grad, torch.tensor([slope, -slope]), rtol=1e-3, atol=1e-3)


def test_poly_dpo_of_minus_one_is_the_least_that_never_turns_a_pair_round() -> None:
    for gain in (-0.2, 0.0, 0.2):
        policy = torch.tensor([0.5 - gain, 0.5], requires_grad=True)
        diffusion_dpo(policy, torch.tensor([0.5, 0.5]), beta=100, poly=-1.0).loss.backward()
        assert policy.grad is not None
        assert policy.grad[0] >= 0


def test_smpo_scales_logits_by_how_decided_a_pair_is() -> None:
    policy = torch.tensor([0.08, 0.12, 0.08, 0.21, 0.19, 0.21])
    reference = torch.tensor([0.10, 0.10, 0.10, 0.20, 0.20, 0.20])  # logits 3, −3 and 3
    found = diffusion_dpo(policy, reference, beta=200, preference=torch.tensor([0.6, 0.75, 0.5]), smpo=10.0)
    # 10 · 0.2 · 3 = 6, 10 · 0.5 · −3 = −15, and nothing for a tie
    expected = torch.tensor([math.log1p(math.exp(-6)), math.log1p(math.exp(15)), math.log(2)])
    torch.testing.assert_close(found.losses, expected, rtol=1e-3, atol=1e-4)
    assert found.logit is not None
    torch.testing.assert_close(found.logit, torch.tensor([3.0, -3.0, 3.0]), rtol=1e-4, atol=1e-4)
    sure = diffusion_dpo(policy, reference, beta=200, preference=torch.ones(3), smpo=1.0)
    assert sure.loss == diffusion_dpo(policy, reference, beta=200).loss


def test_poly_dpo_with_smpos_labels_is_poly_dpo_of_the_scaled_logit() -> None:
    # κ(2q − 1)·z = 2 · 0.5 · 3, of a label that smoothing by ⅛ took from 5/6 to q = ¾: 5/6 · 7/8 + 1/6 · 1/8
    given = {"beta": 200.0, "label_smoothing": 0.125, "poly": 8.0, "smpo": 2.0, "preference": torch.tensor([5 / 6])}
    found = diffusion_dpo(torch.tensor([0.08, 0.21]), torch.tensor([0.10, 0.20]), **given)
    right = 1 / (1 + math.exp(-3))
    assert found.loss.item() == pytest.approx(-math.log(right) + 8 * (1 - right), abs=1e-3)


def test_swapping_winner_and_loser_negates_the_logit() -> None:
    policy, reference = torch.rand(8), torch.rand(8)

    def swapped(errors: torch.Tensor) -> torch.Tensor:
        return torch.cat([errors[4:], errors[:4]])

    straight = diffusion_dpo(policy, reference, beta=10).logit
    crossed = diffusion_dpo(swapped(policy), swapped(reference), beta=10).logit
    torch.testing.assert_close(straight, -crossed)


def test_the_gradient_lowers_the_winners_error_and_raises_the_losers() -> None:
    policy = torch.tensor([0.1, 0.2], requires_grad=True)
    diffusion_dpo(policy, torch.tensor([0.1, 0.2]), beta=100).loss.backward()
    # d loss / d p_w = β/2 · (1 − σ(0)) = 25
    torch.testing.assert_close(policy.grad, torch.tensor([25.0, -25.0]))


def test_errors_are_float32_means_per_sample_whatever_comes_in() -> None:
    prediction = torch.zeros(2, 4, 8, 8, dtype=torch.bfloat16)
    target = torch.stack([torch.full((4, 8, 8), 0.5), torch.full((4, 8, 8), 2.0)])
    errors = denoising_error(prediction, target)
    assert errors.dtype == torch.float32
    torch.testing.assert_close(errors, torch.tensor([0.25, 4.0]))
    # A target that is no bfloat16 number is not made one.
    near = denoising_error(torch.ones(1, 1, 2, 2, dtype=torch.bfloat16), torch.full((1, 1, 2, 2), 1.001))
    assert near.item() == pytest.approx(1e-6, rel=1e-2)


@pytest.mark.parametrize(
    ("policy", "reference"),
    [
        (torch.zeros(3), torch.zeros(3)),
        (torch.zeros(4), torch.zeros(2)),
        (torch.zeros(2, 2), torch.zeros(2, 2)),
        (torch.zeros(4, dtype=torch.float16), torch.zeros(4, dtype=torch.float16)),
    ],
)
def test_errors_that_are_no_pairs_or_not_float32_are_refused(policy: torch.Tensor, reference: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"even length|float32"):
        diffusion_dpo(policy, reference, beta=1)
