"""DSPO, against its formula."""

import pytest
import torch

from training.losses.dspo import dspo
from training.losses.errors import denoising_error


def latents(*values: float) -> torch.Tensor:
    """One latent of 2 × 1 × 1 per pair of values."""
    return torch.tensor(values).view(-1, 2, 1, 1)


def found(prediction: torch.Tensor, reference: torch.Tensor, target: torch.Tensor, **options: object) -> torch.Tensor:
    errors = denoising_error(prediction, target), denoising_error(reference, target)
    return dspo(*errors, prediction, reference, target, **options).loss  # type: ignore[arg-type]


def test_one_pair_by_hand() -> None:
    prediction, reference = latents(1.0, 2.0, 0.0, 0.0), latents(0.0, 1.0, 0.0, 0.0)
    target = torch.zeros_like(prediction)
    # Winner: error 2.5, reference 0.5; loser 0 in both. z = −½ · 0.5 · 2 = −0.5, σ(0.5) = 0.622459.
    # residual = (1, 2) − 0.5 · 0.622459 · (1, 1)
    factor = 0.5 * 0.6224593
    expected = ((1 - factor) ** 2 + (2 - factor) ** 2) / 2
    assert found(prediction, reference, target, beta=0.5).item() == pytest.approx(expected, abs=1e-6)


def test_at_the_reference_it_is_the_winners_error() -> None:
    prediction, target = latents(1.0, 2.0, 5.0, 5.0), torch.zeros(2, 2, 1, 1)
    assert found(prediction, prediction.clone(), target, beta=0.5).item() == pytest.approx(2.5)


def test_its_minimum_lies_beyond_the_target_away_from_the_reference() -> None:
    target, reference = latents(0.0, 0.0, 0.0, 0.0), latents(1.0, 1.0, 1.0, 1.0)
    # Equal gains on winner and loser: z = 0, f = ½ · 0.5 = ¼, so the residual is 0 at −f / (1 − f) = −⅓.
    prediction = latents(-1 / 3, -1 / 3, -1 / 3, -1 / 3)
    assert found(prediction, reference, target, beta=0.5).item() == pytest.approx(0, abs=1e-12)


def test_at_the_published_beta_losers_hardly_count_and_a_beta_for_the_logit_brings_them_in() -> None:
    generator = torch.Generator().manual_seed(0)
    prediction, reference, target = (torch.randn(8, 4, 4, 4, generator=generator) for _ in range(3))
    prediction.requires_grad_()

    def pull(**options: float) -> tuple[float, float]:
        (grad,) = torch.autograd.grad(found(prediction, reference, target, **options), prediction)
        return float(grad[:4].norm()), float(grad[4:].norm())

    winner, loser = pull(beta=0.01)
    assert 0 < loser < 1e-4 * winner
    assert pull(beta=0.01, logit_beta=2.0)[1] > 100 * loser


def test_a_soft_label_tilts_less_and_an_even_one_not_at_all_at_the_reference() -> None:
    prediction, reference = latents(1.0, 2.0, 1.0, 2.0), latents(0.0, 1.0, 0.0, 1.0)  # equal gains: z = 0
    target = torch.zeros_like(prediction)
    plain = found(prediction, reference, target, beta=0.5, preference=torch.tensor([0.5]))
    assert plain.item() == pytest.approx(2.5)
    weighed = found(prediction, reference, target, beta=0.5, weight=torch.tensor([2.0]))
    assert weighed.item() == pytest.approx(2 * found(prediction, reference, target, beta=0.5).item())


def test_half_precision_predictions_are_compared_in_float32() -> None:
    prediction = torch.full((2, 1, 2, 2), 1.0, dtype=torch.bfloat16)
    target = torch.full((2, 1, 2, 2), 1.001)  # no bfloat16 number
    assert found(prediction, prediction.clone(), target, beta=0.1).item() == pytest.approx(1e-6, rel=1e-2)
