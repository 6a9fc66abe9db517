"""Forward passes in parts: every input once, whatever memory there is."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from ranking.settings import Settings
from workers.scorers.runtime import InParts, Runtime, is_out_of_memory, make_runtime

INPUTS = [np.full((2, 3), i, np.uint8) for i in range(21)]
SUMS = torch.tensor([[6.0 * i] for i in range(21)])


def limited(most: int, error: Callable[[], BaseException]) -> tuple[Callable, list[int]]:
    """A function that fails on more than `most` inputs at once, and what it was given."""
    asked: list[int] = []

    def function(inputs: torch.Tensor) -> torch.Tensor:
        asked.append(len(inputs))
        if len(inputs) > most:
            raise error()
        return inputs.sum((1, 2), dtype=torch.float64)[:, None]

    return function, asked


@pytest.mark.parametrize(
    "error",
    [
        lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        lambda: RuntimeError("[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: can't allocate memory"),
        lambda: RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"),
        lambda: RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        lambda: MemoryError(),
    ],
)
def test_a_part_that_does_not_fit_is_halved_until_it_does_and_stays_so(error: Callable[[], BaseException]) -> None:
    function, asked = limited(3, error)
    parts = InParts(function, Runtime(part=16))
    assert torch.equal(parts(INPUTS), SUMS) and parts.part == 2
    assert asked == [16, 8, 4] + [2] * 10 + [1]
    asked.clear()
    assert torch.equal(parts(INPUTS[:4]), SUMS[:4]) and asked == [2, 2]


def test_one_input_that_does_not_fit_is_an_error() -> None:
    function, _ = limited(0, lambda: torch.OutOfMemoryError("no"))
    with pytest.raises(torch.OutOfMemoryError):
        InParts(function, Runtime(part=4))(INPUTS)


def test_another_error_is_not_taken_for_a_lack_of_memory() -> None:
    function, asked = limited(3, lambda: RuntimeError("CUDA error: device-side assert triggered"))
    with pytest.raises(RuntimeError, match="assert"):
        InParts(function, Runtime(part=16))(INPUTS)
    assert asked == [16] and not is_out_of_memory(ValueError("out of memory"))


def test_what_is_kept_stays_in_its_type_and_what_lies_beside_comes_with_every_part() -> None:
    def scaled(inputs: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
        return (inputs.sum((1, 2))[:, None] * factor).bfloat16()

    kept = InParts(scaled, Runtime(part=4), keep=True)(INPUTS, torch.tensor(2.0))
    assert kept.dtype == torch.bfloat16 and torch.equal(kept.float(), (2 * SUMS).bfloat16().float())


def test_settings_reach_the_runtime_and_float32_is_float32() -> None:
    runtime = make_runtime("cpu", Settings(batch=7, compile=True))
    assert runtime == Runtime("cpu", 7, True) and make_runtime("cpu", Settings()).part == 32
    assert torch.backends.cudnn.conv.fp32_precision == torch.backends.cuda.matmul.fp32_precision == "ieee"
    assert torch.get_float32_matmul_precision() == "highest"
