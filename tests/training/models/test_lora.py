"""Adapters: what they change, when they are off, and that a backward pass sees what the forward pass saw."""

import copy
from typing import Any

import pytest
import torch
from tiny_inputs import inputs, predicted
from torch import Tensor, nn

from ranking.errors import UnknownNameError
from training.blocks import LoraConfig
from training.models.base import DiffusionModel
from training.models.lora import adapter_weights, adapters_off, add_adapters, has_adapters, let_dropout_work

FAMILIES = ("tiny_model", "tiny_sdxl", "tiny_sd3")


def stir(weights: list[nn.Parameter]) -> None:
    """Adapters that do something, as after some steps."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for each in weights:
            each.add_(torch.randn(each.shape, generator=generator) * 0.1)


@pytest.mark.parametrize("family", FAMILIES)
def test_adapters_change_nothing_before_they_are_trained_and_are_all_that_is(family: str, fresh: Any) -> None:
    model = fresh(family)
    before = predicted(model)
    expected = adapter_weights(model.denoiser, LoraConfig(rank=3))
    weights = add_adapters(model.denoiser, LoraConfig(rank=3), seed=0)
    assert torch.equal(predicted(model), before)
    assert sum(each.numel() for each in weights) == expected
    assert {each.dtype for each in weights} == {torch.float32}
    trained = {id(each) for each in model.denoiser.parameters() if each.requires_grad}
    assert trained == {id(each) for each in weights}
    assert has_adapters(model.denoiser)


def test_adapters_begin_as_the_seed_says_and_leave_the_global_generator_alone(fresh: Any) -> None:
    def first(seed: int) -> Tensor:
        return add_adapters(fresh("tiny_model").denoiser, LoraConfig(), seed=seed)[0].detach()

    state = torch.get_rng_state()
    assert torch.equal(first(0), first(0))
    assert not torch.equal(first(0), first(1))
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("family", FAMILIES)
def test_the_reference_with_adapters_off_is_a_separate_copy_of_the_base(family: str, fresh: Any) -> None:
    model = fresh(family)
    base = copy.deepcopy(model.denoiser)
    weights = add_adapters(model.denoiser, LoraConfig(rank=3), seed=0)
    stir(weights)
    assert not torch.allclose(predicted(model), predicted(model, base))
    with adapters_off(model.denoiser), torch.no_grad():
        assert torch.equal(predicted(model), predicted(model, base))
    assert all(each.requires_grad for each in weights)


def gradients(model: DiffusionModel, weights: list[nn.Parameter]) -> list[Tensor]:
    """Of a loss against the reference, which runs between the policy's forward pass and its backward pass."""
    policy = predicted(model)
    with adapters_off(model.denoiser), torch.no_grad():
        reference = predicted(model)
    (policy - reference + 1).square().mean().backward()
    return [each.grad.clone() for each in weights if each.grad is not None]


@pytest.mark.parametrize("family", FAMILIES)
def test_adapters_are_on_again_before_the_backward_pass_runs_layers_once_more(family: str, fresh: Any) -> None:
    """With gradient checkpointing a reference that leaves them off gives gradients of another network."""
    found = []
    for checkpointing in (False, True):
        model = fresh(family)
        weights = add_adapters(model.denoiser, LoraConfig(rank=3), seed=0)
        stir(weights)
        if checkpointing:
            model.denoiser.enable_gradient_checkpointing()
        found.append(gradients(model, weights))
    plain, again = found
    assert len(plain) == len(again) == len(weights)
    assert all(torch.allclose(one, other, atol=1e-7) for one, other in zip(plain, again, strict=True))
    assert sum(float(each.abs().sum()) for each in plain) > 0


def test_adapters_come_back_on_where_the_reference_fails(fresh: Any) -> None:
    model = fresh("tiny_model")
    stir(add_adapters(model.denoiser, LoraConfig(), seed=0))
    tuned = predicted(model)
    with pytest.raises(ZeroDivisionError), adapters_off(model.denoiser):
        raise ZeroDivisionError
    assert torch.equal(predicted(model), tuned)


def test_dropout_is_the_adapters_alone_and_never_the_references(fresh: Any) -> None:
    model = fresh("tiny_model")
    base = predicted(model)
    stir(add_adapters(model.denoiser, LoraConfig(dropout=0.5), seed=0))
    assert torch.equal(predicted(model), predicted(model))
    let_dropout_work(model.denoiser)
    torch.manual_seed(0)
    assert not torch.equal(predicted(model), predicted(model))
    with adapters_off(model.denoiser):
        assert torch.equal(predicted(model), base)
    working = {name.rpartition(".")[2] for name, each in model.denoiser.named_modules() if each.training}
    assert working <= {"lora_dropout", "default"}


@pytest.mark.parametrize(
    ("target", "near"),
    [("to_qq", "to_q"), ("attn2.to_w", "attn2.to_"), ("proj_inn", "proj_in"), ("conv_inn", "conv_in")],
)
def test_a_target_that_matches_nothing_is_answered_with_near_ones(target: str, near: str, fresh: Any) -> None:
    with pytest.raises(UnknownNameError, match=f"unknown LoRA target '{target}'") as error:
        add_adapters(fresh("tiny_model").denoiser, LoraConfig(targets=("to_k", target)), seed=0)
    assert near in error.value.hint


def test_convolutions_may_have_adapters_too(fresh: Any) -> None:
    model = fresh("tiny_model")
    config = LoraConfig(rank=2, targets=("conv1", "to_q"))
    expected = adapter_weights(model.denoiser, config)
    assert sum(each.numel() for each in add_adapters(model.denoiser, config, seed=0)) == expected


def test_a_step_moves_adapters_and_not_the_base(fresh: Any) -> None:
    model = fresh("tiny_sdxl")
    before = {name: each.clone() for name, each in model.denoiser.state_dict().items()}
    weights = add_adapters(model.denoiser, LoraConfig(), seed=0)
    optimiser = torch.optim.AdamW(weights, lr=0.1)
    for _ in range(2):  # the first moves the second factors, which start at zero; then the first ones
        model.predict(model.denoiser, *inputs(model)).square().mean().backward()
        optimiser.step()
        optimiser.zero_grad()
    after = {name.replace(".base_layer", ""): each for name, each in model.denoiser.state_dict().items()}
    assert all(torch.equal(each, after[name]) for name, each in before.items())
    with adapters_off(model.denoiser):
        untouched = predicted(model)
    assert not torch.allclose(untouched, predicted(model))
