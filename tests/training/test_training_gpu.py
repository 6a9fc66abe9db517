"""The benchmark that awaits a GPU runs on a CPU meanwhile, on tiny models, so that it will run there too."""

import json
import math
from pathlib import Path

import pytest
import torch

from benchmarks.flops import data_sheet, flops_of
from benchmarks.made_models import describe_made
from benchmarks.training_gpu import here, names, run, table
from training.config import parse_config


def test_figures_come_as_lines_and_what_is_there_is_not_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAIRSIEVE_CACHE", str(tmp_path))  # set by the benchmark, too
    wanted = ["sd15/lora/reference/b4", "check/start/sd15/full/bf16", "check/sample/sd3"]
    assert set(wanted) <= set(names())
    out = tmp_path / "figures.jsonl"
    here(wanted, out=out, folder=tmp_path / "work", device="cpu", tiny=True, until=None)
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line["name"] for line in lines] == wanted
    assert all("error" not in line for line in lines), lines
    speed, start, sample = lines
    assert speed["pairs_per_s"] > 0 and math.isfinite(speed["loss"]) and speed["estimated_gb"] > 0
    assert start["passed"] and sample["passed"]

    out.write_text(out.read_text() + '{"name": "sd15/lora/latents/b4", "dev')  # cut off
    run(wanted, out=out, folder=tmp_path / "work", device="cpu", tiny=True, minutes=None)
    assert len(out.read_text().splitlines()) == 4
    assert [line.split()[0] for line in table(out, "cpu").splitlines()] == sorted(wanted)


def test_operations_are_counted_at_full_size(tmp_path: Path) -> None:
    """Against counts made apart from this code for the same shape: the specification of training, §7."""
    forward, encoding = 0.803e12, 1.117e12
    description = describe_made(tmp_path, "sd15")
    config = parse_config({"cache": {"latents": False}})
    found = flops_of(config, description, side=description.resolution)
    assert found.forward == pytest.approx(forward, rel=1e-3)
    assert found.encoding == pytest.approx(encoding, rel=1e-3)
    assert found.both == pytest.approx(3 * forward, rel=0.01)
    assert found.of_pair(config) == 2 * (found.both + found.forward + found.encoding)
    kept = parse_config({"cache": {"reference_draws": 1}})
    assert found.of_pair(kept) == 2 * found.both


def test_a_device_is_known_by_its_name() -> None:
    assert data_sheet("NVIDIA H100 80GB HBM3") == data_sheet("NVIDIA H200") == 989.4e12
    assert data_sheet("NVIDIA H100 PCIe") == 756.5e12
    assert data_sheet("NVIDIA A100-SXM4-80GB") == 312e12
    assert data_sheet(str(torch.device("cpu"))) is None
