"""Supervised fine-tuning."""

import pytest
import torch

from training.losses.sft import sft


def test_it_is_the_weighted_mean_of_the_winners_errors() -> None:
    errors = torch.tensor([0.3, 0.1])
    found = sft(errors)
    assert found.loss.item() == pytest.approx(0.2)
    assert found.logit is None
    assert found.implicit_accuracy != found.implicit_accuracy  # NaN: it compares nothing
    assert sft(errors, weight=torch.tensor([0.5, 1.5])).loss.item() == pytest.approx((0.15 + 0.15) / 2)
