"""What chance gives a visit: even over time, standard normal, each thing by itself, and the same for both images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from made_pairs import made_pairs

from training.blocks import DataConfig
from training.config import TrainConfig
from training.data.draws import Draw, draw
from training.data.order import Visit
from training.models.load import load_model

COUNT = 4000
DATA = DataConfig(prompt_dropout=0.2, flip=True, crop="random")


@pytest.fixture(scope="module")
def drawn() -> list[Draw]:
    """Of 400 pairs the first ten visits."""
    return [draw(7, f"pair {place % 400}", place // 400, DATA) for place in range(COUNT)]


def near(share: float, expected: float) -> bool:
    """Within four standard deviations of a share of COUNT draws."""
    return abs(share - expected) < 4 * (expected * (1 - expected) / COUNT) ** 0.5


def test_times_are_even_over_the_schedule_from_visit_to_visit_and_from_pair_to_pair(drawn: list[Draw]) -> None:
    times = np.array([each.time for each in drawn])
    assert times.min() >= 0 and times.max() < 1
    assert all(near(share, 0.1) for share in np.histogram(times, 10, (0, 1))[0] / COUNT)
    by_visit = times.reshape(10, 400)
    # Correlations of two visits over 400 pairs have a deviation of 1/20, those of two pairs average out.
    assert np.abs(np.corrcoef(by_visit)[np.triu_indices(10, 1)]).max() < 4 / 20
    assert abs(np.corrcoef(by_visit.T)[np.triu_indices(400, 1)].mean()) < 0.01


def test_prompts_are_dropped_and_pictures_mirrored_at_their_shares_whatever_the_time(drawn: list[Draw]) -> None:
    dropped = np.array([each.dropped for each in drawn])
    flipped = np.array([each.flipped for each in drawn])
    late = np.array([each.time >= 0.5 for each in drawn])
    assert near(float(dropped.mean()), 0.2) and near(float(flipped.mean()), 0.5)
    assert near(float((dropped & late).mean()), 0.1) and near(float((flipped & late).mean()), 0.25)
    assert near(float((dropped & flipped).mean()), 0.1)
    top, left = np.array([each.crop for each in drawn]).T
    assert near(float((top < 0.25).mean()), 0.25) and near(float(((top < 0.25) & (left < 0.25)).mean()), 1 / 16)


def test_noise_is_standard_normal_and_each_visits_own() -> None:
    noise = torch.stack([draw(7, f"pair {at}", 0, DATA).noise((4, 16, 16)) for at in range(100)])
    count = noise.numel()
    assert abs(noise.mean()) < 4 / count**0.5
    assert abs(noise.square().mean() - 1) < 4 * (2 / count) ** 0.5
    assert abs(noise.pow(4).mean() - 3) < 4 * (96 / count) ** 0.5  # Var z⁴ = 105 − 9
    other = [draw(8, "pair 0", 0, DATA), draw(7, "pair 0", 1, DATA), draw(7, "pair 1", 0, DATA)]
    for each in other:  # of 1024 products of independent numbers the mean has a deviation of 1/32
        assert abs((each.noise((4, 16, 16)) * noise[0]).mean()) < 4 / 32


def test_switching_one_thing_on_leaves_the_others_as_they_were() -> None:
    for number in range(20):
        plain, full = draw(3, "pair", number, DataConfig(prompt_dropout=0.0)), draw(3, "pair", number, DATA)
        assert (plain.time, plain.dropped, plain.flipped, plain.crop) == (full.time, False, False, (0.5, 0.5))
        assert torch.equal(plain.noise((4, 2, 2)), full.noise((4, 2, 2)))


def test_draws_are_those_that_kept_reference_errors_belong_to() -> None:
    """Whoever changes these raises `draws.VERSION`, or errors kept on disk are taken for those of other noise."""
    found = draw(0, "pair", 1, DATA)
    assert found.time == pytest.approx(0.17332816198133016, abs=1e-12)
    assert found.noise((3,)).tolist() == pytest.approx([1.144297, -0.180326, 0.019262], abs=1e-5)


def test_winner_and_loser_share_time_noise_and_prompt(tiny_model: Path) -> None:
    """training.md §9.4. Of independent draws most of a logit would be the draws' difference."""
    config = TrainConfig(
        model=str(tiny_model), device="cpu", evaluation=None, data=DataConfig(prompt_dropout=0.5, flip=True)
    )
    material = made_pairs(load_model(str(tiny_model), device="cpu"), config)
    visits = [Visit(place, 2) for place in range(8)]
    batch = material.batch(visits)
    assert torch.equal(*batch.noise.chunk(2))
    assert torch.equal(*batch.times.chunk(2))
    assert torch.equal(*batch.conditioning.tensors["states"].chunk(2))
    for place, visit in enumerate(visits):
        chance = material.draw(visit)
        assert torch.equal(batch.noise[place], chance.noise(tuple(batch.noise.shape[1:])))
        assert batch.uniform[place] == chance.time
        assert int(batch.times[place]) == int(chance.time * 1000)
