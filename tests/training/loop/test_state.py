"""The state of a training as files that a bucket takes."""

from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from ranking.errors import PairsieveError
from training.loop.state import State, read, write

STATE = State(
    {
        "weights/a": torch.arange(6, dtype=torch.float32),  # 24 bytes
        "weights/b": torch.tensor([1.5, -2.5], dtype=torch.bfloat16),  # 4
        "optimiser/a/exp_avg": torch.full((100,), 0.1),  # 400: larger than a file may be
        "optimiser/a/step": torch.tensor(3.0),  # 4
    },
    {"step": 3, "scaler": {"scale": 65536.0}},
)


def test_no_file_of_a_state_is_larger_than_it_may_be_but_for_one_tensor_that_is(tmp_path: Path) -> None:
    write(STATE, tmp_path / "state", largest=28)
    held = []
    for path in sorted((tmp_path / "state").glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            held.append(sorted(file.keys()))
    assert held == [["optimiser/a/exp_avg"], ["optimiser/a/step", "weights/a"], ["weights/b"]]


@pytest.mark.parametrize("largest", [1, 28, 10**9])
def test_what_is_read_is_what_was_written_however_many_files_it_took(tmp_path: Path, largest: int) -> None:
    write(STATE, tmp_path, largest=largest)
    found = read(tmp_path)
    assert found.numbers == STATE.numbers and set(found.tensors) == set(STATE.tensors)
    assert all(torch.equal(found.tensors[name], value) for name, value in STATE.tensors.items())
    assert all(found.tensors[name].dtype == value.dtype for name, value in STATE.tensors.items())


def test_a_state_without_tensors_is_one(tmp_path: Path) -> None:
    write(State({}, {"step": 0}), tmp_path)
    assert read(tmp_path) == State({}, {"step": 0})


def test_a_state_that_was_written_over_in_fewer_files_is_the_later_one(tmp_path: Path) -> None:
    write(State({name: value + 1 for name, value in STATE.tensors.items()}, {"step": 1}), tmp_path, largest=28)
    write(STATE, tmp_path)
    assert torch.equal(read(tmp_path).tensors["weights/a"], STATE.tensors["weights/a"])


def test_a_missing_or_damaged_file_is_told_in_one_line(tmp_path: Path) -> None:
    write(STATE, tmp_path, largest=28)
    second = tmp_path / "state-00002-of-00003.safetensors"
    second.write_bytes(second.read_bytes()[:-1])
    with pytest.raises(PairsieveError, match="cannot be read") as damaged:
        read(tmp_path)
    assert "\n" not in str(damaged.value)
    second.unlink()
    with pytest.raises(PairsieveError, match="cannot be read"):
        read(tmp_path)
