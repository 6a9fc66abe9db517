"""Steps made up by a rule, as metrics.jsonl has them."""

from collections.abc import Callable
from typing import Any

STILL: dict[str, Any] = {
    "loss": 0.69,
    "implicit_accuracy": 0.5,
    "logit": 0.0,
    "logit_spread": 0.1,
    "negative_share": 0.5,
    "gradient_factor": 0.5,
    "winner_error": 0.2,
    "loser_error": 0.2,
    "winner_change": 0.0,
    "loser_change": 0.0,
    "gradient_norm": 0.5,
    "learning_rate": 1e-5,
    "skipped": False,
    "pairs": 8,
    "by_time": {
        "pairs": [6, 2],
        "implicit_accuracy": [0.5, 0.5],
        "winner_change": [0.0, 0.0],
        "loser_change": [0.0, None],
    },
}


def steps(count: int, rule: Callable[[int], dict[str, Any]] = lambda _: {}) -> list[dict[str, Any]]:
    """`count` steps that measure nothing but what `rule` says of each; a small wave keeps standard errors from 0."""
    wave = [0.01, -0.01]
    return [
        STILL | {"step": n, "loss": 0.69 + wave[n % 2], "implicit_accuracy": 0.5 + wave[n // 2 % 2]} | rule(n)
        for n in range(count)
    ]
