"""The gradient of a step does not depend on how it is cut into forward passes."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from made_pairs import features, made_pairs
from torch import Tensor

from training.config import TrainConfig
from training.loop.training import Training
from training.models.base import DiffusionModel
from training.watch.meter import Step

Fresh = Callable[[], DiffusionModel]
Configured = Callable[..., TrainConfig]

# Times a β of 2000 the rounding of a mean error is 1e-4 of a logit.
METHODS = [
    {"name": "dpo", "beta": 100},
    "sft",
    "mapo",
    "dspo",
    {"name": "dpo", "beta": 100, "safeguard": 0.9},
    {"name": "kto", "beta": 500},
    {"name": "rpo", "beta": 500},
    {"name": "rpo", "beta": 500, "safeguard": 0.5},
]


def trained(fresh: Fresh, config: TrainConfig, **more: Any) -> tuple[list[Step], dict[str, Tensor]]:
    model = fresh()
    run = Training(model, made_pairs(model, config, features=features, **more), config)
    return [run.advance() for _ in range(config.steps)], dict(run.denoiser.named_parameters())


def nearly_equal(a: tuple[list[Step], dict[str, Tensor]], b: tuple[list[Step], dict[str, Tensor]]) -> None:
    for one, other in zip(a[0], b[0], strict=True):
        assert one.loss == pytest.approx(other.loss, rel=1e-5)
        assert one.gradient_norm == pytest.approx(other.gradient_norm, rel=1e-4)
        assert one.winner_error == pytest.approx(other.winner_error, rel=1e-5)
        assert one.by_time.pairs == other.by_time.pairs
    for name, weight in a[1].items():
        torch.testing.assert_close(weight, b[1][name], atol=2e-6, rtol=1e-4)


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_eight_passes_of_one_pair_are_one_pass_of_eight(method: Any, fresh: Fresh, config_of: Configured) -> None:
    """Adam divides by the gradient's root mean square, so weights are compared after plain steps of a size that it
    does not blow up: ε dominates where a gradient is rounding alone."""
    common = {"method": method, "steps": 2, "learning_rate": 1e-4, "weight_decay": 0}
    whole = trained(fresh, config_of(batch=8, accumulate=1, **common))
    nearly_equal(whole, trained(fresh, config_of(batch=1, accumulate=8, **common)))


@pytest.mark.parametrize("method", [{"name": "dpo", "beta": 100}, {"name": "rpo", "beta": 500}], ids=str)
def test_passes_of_different_sizes_weigh_by_their_pairs(method: Any, fresh: Fresh, config_of: Configured) -> None:
    """Five of sixteen pairs are tall: passes of up to four pairs of one shape are not all full, and the mean of their
    means would not be the mean over the step's pairs."""
    common = {"method": method, "steps": 2, "learning_rate": 1e-4, "data": {"buckets": True}}
    whole = trained(fresh, config_of(batch=16, **common), tall=5)
    nearly_equal(whole, trained(fresh, config_of(batch=4, accumulate=4, **common), tall=5))


def test_a_loss_of_the_whole_step_is_not_the_mean_of_its_passes(fresh: Fresh, config_of: Configured) -> None:
    """Else the tests above would hold for RPO without gradient caching: four pairs have fewer rivals than eight."""
    common = {"method": {"name": "rpo", "beta": 500}, "steps": 2, "learning_rate": 1e-3}
    eight, _ = trained(fresh, config_of(batch=8, **common))
    four, _ = trained(fresh, config_of(batch=4, **common))
    assert abs(eight[1].loss - four[1].loss) > 1e-4


def test_a_single_pass_of_a_whole_step_runs_once_and_several_run_twice(fresh: Fresh, config_of: Configured) -> None:
    def calls(**cut: int) -> int:
        model, count = fresh(), []
        config = config_of(method={"name": "rpo"}, **cut)
        run = Training(model, made_pairs(model, config, features=features), config)
        model.denoiser.register_forward_hook(lambda *_: count.append(1))
        run.advance()
        return len(count)

    assert calls(batch=4) == 1
    assert calls(batch=2, accumulate=2) == 4
