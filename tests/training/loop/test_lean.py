"""Layers that have autograd keep less compute what they did, to the bit."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from training.blocks import LoraConfig
from training.config import parse_config
from training.loop.activations import activations_of
from training.loop.lean import keep_less
from training.models.describe import describe, meta_denoiser
from training.models.load import load_model
from training.models.lora import add_adapters
from training.precision import Precision, autocast, keep_in_half


def passed(denoiser: Any, precision: Precision) -> tuple[Tensor, list[Tensor], int]:
    """Prediction, gradients and the bytes that autograd kept between them."""
    kept: dict[int, int] = {}
    alive = []

    def keep(tensor: Tensor) -> Tensor:
        alive.append(tensor)
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    torch.manual_seed(0)
    latents, states = torch.randn(2, 4, 8, 8), torch.randn(2, 77, denoiser.config.cross_attention_dim)
    with saved_tensors_hooks(keep, lambda tensor: tensor), autocast(precision, torch.device("cpu")):
        out = denoiser(latents, torch.tensor([3, 700]), states, return_dict=False)[0]
    own = {each.untyped_storage().data_ptr() for each in denoiser.parameters()}
    size = sum(number for place, number in kept.items() if place not in own)
    out.float().square().mean().backward()
    return out, [each.grad for each in denoiser.parameters() if each.requires_grad], size


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("adapters", [True, False])
def test_gradients_are_the_same_and_less_is_kept(tiny_model: Path, adapters: bool, precision: Precision) -> None:
    plain: Any = load_model(str(tiny_model), device="cpu").denoiser
    plain.requires_grad_(not adapters).eval()
    if adapters:
        add_adapters(plain, LoraConfig(rank=2), seed=0)
        for name, weight in plain.named_parameters():
            if "lora_B" in name:
                weight.data.normal_()  # else no gradient passes through
    keep_in_half(plain, precision)
    lean = deepcopy(plain)
    keep_less(lean)
    assert lean.state_dict().keys() == plain.state_dict().keys()
    expected, gradients, much = passed(plain, precision)
    found, same, less = passed(lean, precision)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    torch.testing.assert_close(same, gradients, rtol=0, atol=0)
    assert any(bool(each.any()) for each in same)
    assert less < (0.85 if adapters else 1) * much


@pytest.mark.parametrize("adapters", [True, False])
def test_the_plan_counts_what_is_kept(tiny_model: Path, adapters: bool) -> None:
    config = parse_config({"lora": {"rank": 2} if adapters else None})
    plain: Any = load_model(str(tiny_model), device="cpu").denoiser
    plain.requires_grad_(not adapters).eval()
    if config.lora is not None:
        add_adapters(plain, config.lora, seed=0)
    keep_less(plain)
    shape = describe(str(tiny_model))
    meta = meta_denoiser(shape.family, shape.configs[shape.part])
    told = activations_of(config, shape, meta, images=2, side=8 * shape.stride)
    assert told == pytest.approx(passed(plain, "fp32")[2], rel=0.1)


def test_a_convolution_that_trains_is_left_alone() -> None:
    two = torch.nn.Sequential(
        torch.nn.Conv2d(3, 3, 3), torch.nn.Conv2d(3, 3, 3, stride=2, groups=3).requires_grad_(False)
    )
    same = deepcopy(two)
    keep_less(same)
    assert type(same[0]) is torch.nn.Conv2d is not type(same[1])
    given = torch.randn(1, 3, 9, 9)
    for each in (two, same):
        each(given).sum().backward()
    torch.testing.assert_close(same[0].weight.grad, two[0].weight.grad, rtol=0, atol=0)
