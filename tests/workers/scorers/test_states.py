"""Checkpoints give their tensors and run nothing."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from workers.scorers.states import load_state
from workers.scorers.weights import WeightsError

STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.tensor([1, 2], dtype=torch.int64)}


def same(found: dict[str, torch.Tensor]) -> bool:
    return set(found) == set(STATE) and all(torch.equal(found[key], STATE[key]) for key in STATE)


@pytest.mark.parametrize("name", ["x.safetensors", "x.pt"])
def test_both_formats_are_told_by_their_bytes_and_not_by_their_names(tmp_path: Path, name: str) -> None:
    save_file(STATE, tmp_path / "safe")
    torch.save(STATE, tmp_path / "zip")
    torch.save(STATE, tmp_path / "old", _use_new_zipfile_serialization=False)
    for written in ("safe", "zip", "old"):
        (tmp_path / written).rename(tmp_path / name)
        assert same(load_state(tmp_path / name))


def test_dtypes_are_those_of_the_file(tmp_path: Path) -> None:
    save_file({"x": torch.zeros(2, dtype=torch.float16)}, tmp_path / "x")
    assert load_state(tmp_path / "x")["x"].dtype == torch.float16


def test_tensors_below_a_key_are_reached_by_naming_it_only(tmp_path: Path) -> None:
    torch.save({"state_dict": STATE, "epoch": 3}, tmp_path / "x.pt")
    assert same(load_state(tmp_path / "x.pt", under="state_dict"))
    with pytest.raises(WeightsError, match="a dict under the key 'state_dict' where a tensor"):
        load_state(tmp_path / "x.pt")
    with pytest.raises(WeightsError, match="nothing under the key 'model'"):
        load_state(tmp_path / "x.pt", under="model")


class Trap(torch.nn.Linear):
    """A model whose loading would run code of its own."""


def test_a_pickled_model_is_refused_and_nothing_of_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save(Trap(2, 2), tmp_path / "x.pt")
    monkeypatch.setattr(Trap, "__setstate__", lambda *_: pytest.fail("it ran"))
    with pytest.raises(
        WeightsError, match=r"pickled Python objects \(it names .*Trap\).*save its state_dict"
    ) as caught:
        load_state(tmp_path / "x.pt")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("damage", ["cut", "noise", "empty", "cut safetensors"])
def test_a_damaged_file_is_one_line(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "x.pt"
    if damage == "cut safetensors":
        save_file(STATE, path)
    else:
        torch.save(STATE, path)
    whole = path.read_bytes()
    path.write_bytes({"noise": b"no checkpoint" * 9, "empty": b""}.get(damage, whole[: len(whole) // 2]))
    with pytest.raises(WeightsError, match=r"x\.pt is no checkpoint, or is damaged.*; fetch it again") as caught:
        load_state(path)
    assert "\n" not in str(caught.value)
