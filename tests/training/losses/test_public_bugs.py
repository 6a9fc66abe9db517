"""Bugs of public trainers that ours must not have: one test each, named after where they were found."""

import math

import pytest
import torch
from torch.nn.functional import mse_loss

from training.losses.dpo import diffusion_dpo
from training.losses.errors import denoising_error
from training.losses.margins import ipo
from training.losses.pairs import preference_logit

# Two pairs whose logits at β = 200 are 3 and −3.
POLICY = torch.tensor([0.08, 0.12, 0.21, 0.19])
REFERENCE = torch.tensor([0.10, 0.10, 0.20, 0.20])


def test_diffusers_6702_the_mean_is_not_taken_inside_the_logsigmoid() -> None:
    found = diffusion_dpo(POLICY, REFERENCE, beta=200).loss.item()
    assert found == pytest.approx((math.log1p(math.exp(-3)) + math.log1p(math.exp(3))) / 2, abs=1e-4)
    assert found - math.log(2) > 0.8  # what −logsigmoid of the mean gives


def test_invoke_training_errors_are_not_averaged_over_the_batch_before_pairs_are_compared() -> None:
    generator = torch.Generator().manual_seed(0)
    prediction, target = (torch.randn(6, 4, 8, 8, generator=generator) for _ in range(2))
    errors = denoising_error(prediction, target)
    assert errors.shape == (6,)
    torch.testing.assert_close(errors[2], mse_loss(prediction[2], target[2]))
    assert errors.std() > 0


def test_diffusers_dpo_script_its_ipo_branch_reads_a_beta_that_exists() -> None:
    # That branch asks for args.beta where the option is beta_dpo, and raises in its first step.
    found = ipo(POLICY, REFERENCE, beta=200)
    assert found.loss.item() == pytest.approx((2.5**2 + 3.5**2) / 2, abs=1e-3)


def test_salesforce_counts_exact_ties_as_wrong_and_diffusers_as_half() -> None:
    # With LoRA, or any policy that starts as its reference, every logit of step 0 is exactly 0.
    found = diffusion_dpo(REFERENCE, REFERENCE.clone(), beta=5000)
    assert found.implicit_accuracy == 0.5
    mixed = diffusion_dpo(torch.tensor([0.08, 0.10, 0.20, 0.20]), REFERENCE, beta=5000)
    assert mixed.implicit_accuracy == 0.75


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_salesforce_and_four_forks_a_half_precision_reference_error_is_refused(kind: torch.dtype) -> None:
    with pytest.raises(ValueError, match="must be float32"):
        preference_logit(POLICY, REFERENCE.to(kind), beta=5000)


def test_salesforce_and_four_forks_errors_of_half_precision_predictions_are_float32() -> None:
    # The same bfloat16 predictions on both sides: our logits are 0, where theirs were noise of more than 1.
    generator = torch.Generator().manual_seed(0)
    target = torch.randn(64, 4, 16, 16, generator=generator)
    prediction = (target + 0.7 * torch.randn(64, 4, 16, 16, generator=generator)).bfloat16()
    mine = denoising_error(prediction, target.bfloat16())
    assert mine.dtype == torch.float32
    assert preference_logit(mine, denoising_error(prediction, target.bfloat16()), beta=5000).abs().max() == 0
    in_half = (prediction - target.bfloat16()).square().mean(dim=(1, 2, 3)).float()
    noise = preference_logit(mine, in_half, beta=5000).abs().mean()
    assert noise > 1


def test_paper_and_scripts_beta_has_the_one_half_and_means_over_elements() -> None:
    # Sum over elements and no ½, as the paper's pseudo-code has it, is the same at β / (2 · elements).
    generator = torch.Generator().manual_seed(0)
    shape = (4, 4, 8, 8)
    prediction, reference, target = (torch.randn(shape, generator=generator) for _ in range(3))
    summed = [(each - target).square().flatten(1).sum(1).view(2, 2) for each in (prediction, reference)]
    paper = -(5000 / (2 * 256)) * ((summed[0][0] - summed[0][1]) - (summed[1][0] - summed[1][1]))
    found = preference_logit(denoising_error(prediction, target), denoising_error(reference, target), beta=5000)
    torch.testing.assert_close(found, paper, rtol=1e-4, atol=1e-3)
