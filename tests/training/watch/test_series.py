"""Curves keep what the steps said, in bounded space."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_steps import steps

from training.watch.headline import headline
from training.watch.series import read_records, series_of, time_grids


def test_a_short_series_is_told_as_it_is() -> None:
    made = {each.name: each for each in series_of(steps(4, lambda n: {"loss": [3.0, 1.0, 2.0, 4.0][n]}))}
    loss = made["loss"]
    assert loss.step == (0, 1, 2, 3)
    assert loss.mean == loss.low == loss.high == loss.smooth == (3.0, 1.0, 2.0, 4.0)
    assert "kl_proxy" not in made


def test_a_long_series_keeps_means_and_extremes_of_its_ranges() -> None:
    (loss,) = (each for each in series_of(steps(1000, lambda n: {"loss": float(n)}), points=10) if each.name == "loss")
    assert loss.step[0] == loss.mean[0] == 49.5
    assert (loss.low[0], loss.high[0]) == (0, 99)
    assert (loss.low[-1], loss.high[-1]) == (900, 999)


def test_the_smooth_curve_is_the_mean_over_a_twentieth_around_a_point() -> None:
    spike = steps(400, lambda n: {"loss": 1.0 if n == 200 else 0.0})
    (loss,) = (each for each in series_of(spike, points=400) if each.name == "loss")
    assert loss.mean[200] == 1.0
    assert loss.smooth[200] == pytest.approx(1 / 21)
    assert loss.smooth[100] == 0


@given(st.lists(st.floats(-1e6, 1e6) | st.none(), min_size=1, max_size=300), st.integers(1, 40))
def test_every_series_is_bounded_and_within_what_was_measured(values: list[float | None], points: int) -> None:
    known = [value for value in values if value is not None]
    made = [s for s in series_of(steps(len(values), lambda n: {"loss": values[n]}), points=points) if s.name == "loss"]
    assert bool(made) == bool(known)
    for each in made:
        assert len(each.step) == len(each.mean) <= points
        assert min(v for v in each.low if v is not None) == min(known)
        assert max(v for v in each.high if v is not None) == max(known)


def test_by_time_means_are_over_pairs_and_know_where_no_pair_was() -> None:
    def rule(n: int) -> dict[str, object]:
        pairs, change = ([3, 0], [1.0, None]) if n == 0 else ([1, 0], [5.0, None])
        return {"by_time": {"pairs": pairs, "winner_change": change}}

    (grid,) = time_grids(steps(2, rule), rows=1)
    assert (grid.name, grid.rows) == ("winner_change", ((2.0, None),))


def test_damaged_lines_are_left_out_and_of_two_of_one_step_the_later_counts() -> None:
    lines = ['{"step": 1, "loss": 1}', '{"step": 0, "loss": 2}', '{"step": 1, "loss": 3}', '{"step": 2, "lo', "[]"]
    assert read_records(lines) == [{"step": 0, "loss": 2}, {"step": 1, "loss": 3}]
    assert read_records([json.dumps(each) for each in steps(3)]) == steps(3)


def test_the_headline_says_that_it_learns_and_by_which_numbers() -> None:
    def learning(n: int) -> dict[str, float]:
        return {"implicit_accuracy": 0.5 if n == 0 else 0.70 + 0.02 * (n % 2), "winner_change": -0.004} | {
            "loser_change": 0.011
        }

    assert headline(steps(120, learning)) == (
        "It learns the order of its pairs. After 120 steps accuracy 0.71 (0.50 at the start), "
        "winners' error −0.004, losers' +0.011 against the reference."
    )


def test_the_headline_does_not_praise_a_run_that_unlearns_its_winners() -> None:
    def worse(_: int) -> dict[str, float]:
        return {"implicit_accuracy": 0.9, "winner_error": 0.3, "winner_change": 0.1, "loser_change": 0.2}

    assert headline(steps(60, worse)).startswith("It learns the order of its pairs, but gets worse at winners too. ")


def test_the_headline_claims_nothing_that_chance_could_be() -> None:
    assert headline(steps(120)).startswith("No sure sign of learning yet. After 120 steps accuracy 0.50")
    assert headline([]) == "No step was taken yet."
    assert headline(steps(1)).startswith("No sure sign")


def test_without_a_reference_the_accuracy_of_the_base_model_is_nothing_learnt() -> None:
    def mapo(n: int, gain: float = 0.0) -> dict[str, float | None]:
        return {"implicit_accuracy": 0.75 + 0.02 * (n % 2) + gain * n, "winner_change": None, "loser_change": None}

    assert headline(steps(4, mapo)).startswith("No sure sign of learning yet. After 4 steps accuracy 0.76 (0.75 at")
    assert headline(steps(120, mapo)).startswith("No sure sign of learning yet. ")
    assert headline(steps(120, lambda n: mapo(n, 0.001))).startswith("It learns the order of its pairs. ")


def test_a_method_without_accuracy_is_judged_by_its_winners() -> None:
    unknown = {"implicit_accuracy": None, "winner_change": None, "loser_change": None}
    falls = steps(100, lambda n: unknown | {"winner_error": 0.3 - 0.001 * n})
    assert headline(falls).startswith("It learns its winners. After 100 steps winners' error 0.2105 (0.2905")
    assert headline(steps(100, lambda n: unknown | {"winner_error": 0.3 + 0.001 * (n % 2)})).startswith("No sure sign")
    assert "too early" in headline(steps(10, lambda n: unknown))
