"""Each warning comes from a series that has what it warns of, and from no other."""

from collections.abc import Callable
from typing import Any

import pytest
from made_steps import steps

from training.watch.warnings import RunWarning, recent_steps, warnings_of

CONFIG = {"max_grad_norm": 1.0, "warmup": 0, "method": {"name": "dpo", "beta": 2000.0, "safeguard": None}}
Rule = Callable[[int], dict[str, Any]]

LEARNS: Rule = lambda n: {"loss": 0.69 - 0.002 * n, "implicit_accuracy": min(0.9, 0.5 + 0.002 * n)}  # noqa: E731


def found(rule: Rule, *, count: int = 150, config: dict[str, Any] = CONFIG) -> dict[str, RunWarning]:
    return {warning.code: warning for warning in warnings_of(steps(count, rule), config)}


def test_a_run_that_learns_is_not_warned_of() -> None:
    assert found(lambda n: LEARNS(n) | {"winner_change": -1e-4 * n, "loser_change": 1e-4 * n}) == {}


def test_errors_of_winners_and_losers_that_both_grow_are_degeneration() -> None:
    warning = found(lambda n: LEARNS(n) | {"winner_error": 0.22, "winner_change": 0.02, "loser_change": 0.05 + n % 2})[
        "both-errors-grow"
    ]
    assert warning.numbers["grown"] == pytest.approx(0.02 / 0.20)
    assert "+10.0%" in warning.message
    assert "safeguard" in warning.todo and "beta" in warning.todo


def test_the_safeguard_is_not_advised_to_whoever_has_it() -> None:
    config = CONFIG | {"method": {"name": "dpo", "safeguard": 0.9}}
    grow: Rule = lambda n: {"winner_error": 0.22, "winner_change": 0.02, "loser_change": 0.05}  # noqa: E731
    assert "safeguard" not in found(grow, config=config)["both-errors-grow"].todo


def test_losers_that_get_worse_alone_are_what_preference_training_does() -> None:
    assert "both-errors-grow" not in found(lambda n: {"winner_change": -0.001, "loser_change": 0.05})
    # Of +0.5 % nobody needs to hear.
    assert "both-errors-grow" not in found(lambda n: {"winner_change": 0.001, "loser_change": 0.05})


def test_accuracy_pinned_at_one_is_memorised() -> None:
    warning = found(lambda n: {"implicit_accuracy": 1.0 if n > 60 else 0.5})["memorised"]
    assert warning.numbers == {"implicit_accuracy": 1.0, "steps": 20}
    assert "memorised" not in found(lambda n: {"implicit_accuracy": 0.97})


def test_a_gradient_that_is_always_clipped_is_said_with_its_norm() -> None:
    warning = found(lambda n: LEARNS(n) | {"gradient_norm": 12.0 + n % 3})["always-clipped"]
    assert warning.numbers == {"share": 1.0, "gradient_norm": 13.0, "max_grad_norm": 1.0}
    assert "always-clipped" not in found(lambda n: {"gradient_norm": 12.0 if n % 2 else 0.5})


def test_adafactors_gradients_are_not_said_to_be_clipped() -> None:
    steep: Rule = lambda n: LEARNS(n) | {"gradient_norm": 12.0}  # noqa: E731
    assert "always-clipped" not in found(steep, config=CONFIG | {"optimiser": "adafactor"})


def test_a_loss_without_trend_is_said_unless_accuracy_is_above_chance_all_the_same() -> None:
    assert "no trend" in found(lambda n: {})["loss-flat"].message
    assert "loss-flat" not in found(lambda n: {"implicit_accuracy": 0.5 + 0.002 * n})
    assert "loss-flat" not in found(lambda n: {"loss": 0.69 - 0.002 * n})
    assert "loss-flat" not in found(lambda n: {}, count=50)


def test_a_loss_is_not_called_flat_for_its_warm_up() -> None:
    still: Rule = lambda n: {}  # noqa: E731
    assert "loss-flat" in found(still, count=150)
    assert "loss-flat" not in found(still, count=150, config=CONFIG | {"warmup": 100})


def test_saturated_logits_are_said_with_their_gradient_factor() -> None:
    warning = found(lambda n: LEARNS(n) | {"logit": 7.0, "logit_spread": 3.0, "gradient_factor": 0.01})[
        "logits-saturated"
    ]
    assert "gradient factor is 0.01" in warning.message
    assert "logits-saturated" in found(lambda n: {"logit": 0.0, "logit_spread": 9.0})
    assert "logits-saturated" not in found(lambda n: {"logit": 2.0, "logit_spread": 1.0})


def test_fp16_that_skips_steps_is_said_but_not_for_finding_its_scale() -> None:
    assert found(lambda n: {"skipped": n % 5 == 0})["steps-skipped"].numbers == {"skipped": 4, "steps": 20}
    assert "steps-skipped" not in found(lambda n: {"skipped": n < 15}, count=40)


def test_nothing_is_said_of_the_first_steps_or_of_what_is_not_known() -> None:
    assert found(lambda n: {"gradient_norm": 99.0}, count=19) == {}
    unknown = dict.fromkeys(("implicit_accuracy", "logit", "logit_spread", "winner_change", "loser_change"))
    assert found(lambda n: unknown | {"loss": 0.3 - 0.001 * n}) == {}


def test_recent_is_a_tenth_within_bounds() -> None:
    assert [recent_steps(count) for count in (5, 100, 1000, 10_000)] == [5, 20, 100, 200]
