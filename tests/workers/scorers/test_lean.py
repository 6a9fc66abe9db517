"""Large models are filled from their files without being made twice."""

import pytest
import torch

from workers.scorers.lean import empty, fill
from workers.scorers.weights import WeightsError


def model(precision: str = "bfloat16") -> torch.nn.Module:
    return empty(lambda: torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.Linear(5, 2)), precision)


def state(dtype: torch.dtype = torch.bfloat16) -> dict[str, torch.Tensor]:
    shapes = {"0.weight": (5, 3), "0.bias": (5,), "1.weight": (2, 5), "1.bias": (2,)}
    return {name: torch.randn(shape).to(dtype) for name, shape in shapes.items()}


def test_tensors_of_the_right_dtype_become_the_parameters_without_a_copy() -> None:
    assert all(parameter.is_meta for parameter in model().parameters())
    tensors = state()
    places = {name: tensor.data_ptr() for name, tensor in tensors.items()}
    filled = fill(model(), tensors, what="a.safetensors")
    assert {name: value.data_ptr() for name, value in filled.named_parameters()} == places
    assert tensors == {}
    assert not any(value.requires_grad for value in filled.parameters())


def test_parameters_keep_the_dtype_that_the_model_was_built_with() -> None:
    mixed = model()
    mixed[1].float()
    filled = fill(mixed, state(torch.float32), what="a.safetensors")
    assert [value.dtype for value in filled.parameters()] == [torch.bfloat16] * 2 + [torch.float32] * 2


@pytest.mark.parametrize(
    ("name", "tensor", "said"),
    [
        ("1.bias", None, r"lacks 1\.bias"),
        ("2.bias", torch.zeros(2), r"holds an unknown 2\.bias"),
        ("1.bias", torch.zeros(7), r"holds 1\.bias of shape \(7,\), not \(2,\)"),
    ],
)
def test_a_file_of_another_layout_is_refused_in_one_line(name: str, tensor: torch.Tensor | None, said: str) -> None:
    tensors = state()
    tensors.pop(name, None)
    if tensor is not None:
        tensors[name] = tensor
    with pytest.raises(WeightsError, match=rf"the weights a\.bin are of another model: the file {said}") as raised:
        fill(model(), tensors, what="a.bin")
    assert "\n" not in str(raised.value)
