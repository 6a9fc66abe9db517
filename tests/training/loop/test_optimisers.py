"""Rates by step and what each optimiser does."""

import math
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from ranking.errors import UsageError
from training.config import TrainConfig
from training.loop.optimisers import learning_rate, make_optimiser

Configured = Callable[..., TrainConfig]


def rates(config: TrainConfig) -> list[float]:
    return [learning_rate(config, step) for step in range(config.steps)]


def test_the_rate_rises_over_the_warm_up_and_its_first_step_counts(config_of: Configured) -> None:
    config = config_of(steps=6, warmup=4, learning_rate=0.8)
    assert rates(config) == pytest.approx([0.2, 0.4, 0.6, 0.8, 0.8, 0.8])


def test_after_the_warm_up_it_falls_in_a_line_or_half_a_cosine(config_of: Configured) -> None:
    line = config_of(steps=6, warmup=2, learning_rate=1.0, schedule="linear")
    assert rates(line) == pytest.approx([0.5, 1, 1, 0.75, 0.5, 0.25])
    cosine = config_of(steps=6, warmup=2, learning_rate=1.0, schedule="cosine")
    half = math.sqrt(0.5) / 2
    assert rates(cosine) == pytest.approx([0.5, 1, 1, 0.5 + half, 0.5, 0.5 - half])


def test_a_warm_up_as_long_as_the_run_is_no_division_by_zero(config_of: Configured) -> None:
    assert rates(config_of(steps=2, warmup=2, schedule="cosine", learning_rate=1.0)) == [0.5, 1.0]
    assert rates(config_of(steps=2, warmup=9, schedule="linear", learning_rate=0.9)) == pytest.approx([0.1, 0.2])


def stepped(config: TrainConfig, gradient: list[float]) -> list[float]:
    weight = nn.Parameter(torch.ones(len(gradient)))
    optimiser = make_optimiser([weight], config)
    weight.grad = torch.tensor(gradient)
    optimiser.step()
    return weight.tolist()


def test_adamws_first_step_is_the_rate_in_the_gradients_direction(config_of: Configured) -> None:
    """Loshchilov & Hutter 2019, algorithm 2: w·(1 − lr·wd) − lr·sign(g) while the moments hold one gradient."""
    config = config_of(learning_rate=0.1, weight_decay=0.5)
    assert stepped(config, [3.0, -0.01]) == pytest.approx([0.95 - 0.1, 0.95 + 0.1], rel=1e-4)


def test_adafactor_clips_its_update_at_a_root_mean_square_of_one(config_of: Configured) -> None:
    """Shazeer & Stern 2018, with scale_parameter and relative_step off: β2 is 0 at the first step, so the update of a
    vector is g/|g| of root mean square 1, whatever the gradient's size, and the rate is the config's."""
    config = config_of(optimiser="adafactor", learning_rate=0.1, weight_decay=0.5)
    assert stepped(config, [300.0, -0.01]) == pytest.approx([0.95 - 0.1, 0.95 + 0.1], rel=1e-4)


def test_eight_bit_adamw_takes_a_quarter_of_the_memory(config_of: Configured) -> None:
    def held(name: str) -> int:
        weight = nn.Parameter(torch.ones(8192))
        optimiser = make_optimiser([weight], config_of(optimiser=name))
        weight.grad = torch.randn(8192, generator=torch.Generator().manual_seed(0))
        optimiser.step()
        # The two maps of 256 values that codes are read by are shared by all weights.
        return sum(v.nbytes for k, v in optimiser.state[weight].items() if "qmap" not in k and torch.is_tensor(v))

    assert held("adamw-8bit") < 0.3 * held("adamw")


def test_eight_bit_adamw_without_its_package_is_one_clear_line(
    config_of: Configured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """training.md §6f: a public script's optional package (xformers) was mandatory and failed with a traceback."""
    missing: Any = None
    monkeypatch.setitem(sys.modules, "bitsandbytes.optim", missing)
    with pytest.raises(UsageError, match="pip install bitsandbytes") as caught:
        make_optimiser([nn.Parameter(torch.ones(1))], config_of(optimiser="adamw-8bit"))
    assert "\n" not in str(caught.value)
