"""The record of a step: worked by hand from a few pairs, and the same however they were cut into passes."""

import json
import math

import pytest
import torch

from training.losses.dpo import diffusion_dpo
from training.losses.outcome import Outcome
from training.methods.objective import Passes, make_objective
from training.methods.options import METHODS, Sft
from training.watch.meter import Meter, Step

# Winners, then losers. Changes: winners −0.1, 0.2; losers 0.3, 0. With β = 2 the logit is loser's change less winner's:
# 0.4 for the first pair and −0.2 for the second.
POLICY = torch.tensor([0.4, 0.8, 0.9, 0.7])
REFERENCE = torch.tensor([0.5, 0.6, 0.6, 0.7])
UNIFORM = torch.tensor([0.05, 0.95], dtype=torch.float64)


def passes(policy: torch.Tensor = POLICY, reference: torch.Tensor | None = REFERENCE) -> Passes:
    ones = torch.ones(len(policy) // 2)
    return Passes(policy, reference, ones, ones)


def dpo(each: Passes) -> Outcome:
    assert each.reference is not None
    return diffusion_dpo(each.policy, each.reference, beta=2.0)


def closed(meter: Meter, **more: object) -> Step:
    given = {"step": 7, "learning_rate": 1e-4, "gradient_norm": 0.5, "seconds": 0.5} | more
    return meter.close(**given)  # type: ignore[arg-type]


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def test_a_step_is_what_one_works_out_by_hand() -> None:
    meter = Meter(2)
    meter.add(passes(), dpo(passes()), UNIFORM)
    step = closed(meter)
    assert step.loss == pytest.approx(-(math.log(sigmoid(0.4)) + math.log(sigmoid(-0.2))) / 2, abs=1e-6)
    assert (step.step, step.pairs, step.implicit_accuracy, step.negative_share) == (7, 2, 0.5, 0.5)
    assert step.logit == pytest.approx(0.1, abs=1e-6)
    assert step.logit_spread == pytest.approx(0.3, abs=1e-6)
    assert step.gradient_factor == pytest.approx((sigmoid(-0.4) + sigmoid(0.2)) / 2, abs=1e-6)
    assert step.winner_error == pytest.approx(0.6, abs=1e-6)
    assert step.loser_error == pytest.approx(0.8, abs=1e-6)
    assert step.winner_change == pytest.approx(0.05, abs=1e-6)
    assert step.loser_change == pytest.approx(0.15, abs=1e-6)
    assert step.kl_proxy == pytest.approx(0.1, abs=1e-6)
    assert (step.learning_rate, step.gradient_norm, step.pairs_per_second) == (1e-4, 0.5, 4)


def test_pairs_fall_into_the_range_of_time_that_they_were_drawn_at() -> None:
    meter = Meter(4)
    meter.add(passes(), dpo(passes()), UNIFORM)
    by_time = closed(meter).by_time
    assert by_time.pairs == (1, 0, 0, 1)
    assert (by_time.implicit_accuracy[0], by_time.implicit_accuracy[3]) == (1, 0)
    assert by_time.winner_change[0] == pytest.approx(-0.1, abs=1e-6)
    assert by_time.loser_change[0] == pytest.approx(0.3, abs=1e-6)
    assert by_time.winner_change[3] == pytest.approx(0.2, abs=1e-6)
    assert math.isnan(by_time.winner_change[1])


def test_a_step_in_one_pass_and_in_two_is_the_same() -> None:
    whole, parts = Meter(3), Meter(3)
    whole.add(passes(), dpo(passes()), UNIFORM)
    for pair in (0, 1):
        one = passes(POLICY[[pair, pair + 2]], REFERENCE[[pair, pair + 2]])
        parts.add(one, dpo(one), UNIFORM[pair : pair + 1])
    assert closed(whole) == closed(parts)


def test_sums_of_two_processes_add_up_to_the_step_of_both() -> None:
    whole, here, there = Meter(3), Meter(3), Meter(3)
    whole.add(passes(), dpo(passes()), UNIFORM)
    for meter, pair in ((here, 0), (there, 1)):
        one = passes(POLICY[[pair, pair + 2]], REFERENCE[[pair, pair + 2]])
        meter.add(one, dpo(one), UNIFORM[pair : pair + 1])
    elsewhere = there.sums
    assert elsewhere is not None
    assert closed(here, reduce=lambda sums: sums + elsewhere) == closed(whole)


def test_at_the_reference_half_of_the_pairs_count_as_right_and_the_gradient_factor_is_one_half() -> None:
    meter = Meter(1)
    same = passes(REFERENCE, REFERENCE)
    meter.add(same, dpo(same), UNIFORM)
    step = closed(meter)
    assert (step.implicit_accuracy, step.negative_share, step.logit_spread) == (0.5, 0, 0)
    assert (step.gradient_factor, step.kl_proxy) == (0.5, 0)
    assert step.loss == pytest.approx(math.log(2))


def test_what_a_method_does_not_have_is_nan_and_null_in_files() -> None:
    meter = Meter(2)
    alone = passes(reference=None)
    meter.add(alone, make_objective(Sft()).loss(alone), UNIFORM)
    step = closed(meter)
    assert step.loss == pytest.approx(0.6, abs=1e-6)
    for name in ("implicit_accuracy", "negative_share", "logit", "logit_spread", "gradient_factor", "winner_change"):
        assert math.isnan(getattr(step, name)), name
    record = json.loads(json.dumps(step.record(), allow_nan=False))
    assert record["implicit_accuracy"] is None
    assert record["by_time"]["winner_change"] == [None, None]
    assert record["winner_error"] == pytest.approx(0.6, abs=1e-6)


@pytest.mark.parametrize("name", METHODS)
def test_a_step_of_every_method_is_measured(name: str) -> None:
    objective = make_objective(METHODS[name]())
    near = torch.zeros(4, 1, 2, 2)
    unit = torch.nn.functional.normalize(torch.tensor([[[1.0, 0.0], [0.5, 0.5]]]).repeat(4, 1, 1), dim=2)
    whole = Passes(POLICY, REFERENCE, torch.ones(2), torch.ones(2), near + 0.1, near, near + 0.05, unit)
    meter = Meter(2)
    outcome = objective.loss(whole)
    meter.add(whole, outcome, UNIFORM)
    step = closed(meter)
    assert step.loss == pytest.approx(float(outcome.losses.mean()), rel=1e-6)
    assert step.pairs == 2
    assert step.winner_error == pytest.approx(0.6, abs=1e-6)
    assert math.isfinite(step.implicit_accuracy) == (outcome.logit is not None)


def test_losers_that_were_not_run_are_unknown() -> None:
    meter = Meter(2)
    winners = Passes(POLICY[:2], REFERENCE[:2], torch.ones(2), torch.ones(2))
    meter.add(winners, make_objective(Sft()).loss(winners), UNIFORM)
    step = closed(meter)
    assert step.winner_error == pytest.approx(0.6, abs=1e-6)
    assert step.winner_change == pytest.approx(0.05, abs=1e-6)
    assert math.isnan(step.loser_error)
    assert math.isnan(step.loser_change)


def test_the_distance_of_predictions_is_the_mean_over_elements_and_both_images() -> None:
    meter = Meter(1)
    both = passes()
    prediction = torch.zeros(4, 1, 2, 2)
    prediction[0] += 2.0  # one winner of four images is 2 away in every element: 4 / 4
    near = Passes(
        both.policy, both.reference, both.preference, both.weight, prediction, None, torch.zeros_like(prediction)
    )
    meter.add(near, dpo(both), UNIFORM)
    assert closed(meter).prediction_distance == 1.0


def test_a_loss_that_is_not_finite_is_seen() -> None:
    meter = Meter(2)
    broken = passes(torch.tensor([math.inf, 0.8, 0.9, 0.7]))
    meter.add(broken, dpo(broken), UNIFORM)
    step = closed(meter)
    assert not math.isfinite(step.loss)
    assert step.record()["loss"] is None


def test_a_meter_is_empty_again_after_a_step() -> None:
    meter = Meter(2)
    meter.add(passes(), dpo(passes()), UNIFORM)
    first = closed(meter)
    meter.add(passes(), dpo(passes()), UNIFORM)
    assert closed(meter) == first
    with pytest.raises(ValueError, match="forward pass"):
        closed(meter)


def test_steps_are_equal_whatever_the_clock_says() -> None:
    meter = Meter(2)
    meter.add(passes(), dpo(passes()), UNIFORM)
    first = closed(meter, seconds=1.0)
    meter.add(passes(), dpo(passes()), UNIFORM)
    assert first == closed(meter, seconds=2.0)
    meter.add(passes(), dpo(passes()), UNIFORM)
    assert first != closed(meter, gradient_norm=0.6)
