"""What a scorer takes and gives on a device, from figures that were worked by hand."""

from dataclasses import replace
from pathlib import Path

import pytest

from workers.doctor.examine import decoding_rate, examine, precision_of, together
from workers.scorers.base import Cost, ScorerSpec
from workers.scorers.weights import Asset, assets_in


@pytest.fixture
def tower(tmp_path: Path) -> ScorerSpec:
    """A scorer of 400 M parameters and 162 GFLOPs an image whose file is here."""
    (tmp_path / "tower").mkdir()
    (tmp_path / "tower" / "model.bin").write_bytes(b"x")
    return ScorerSpec(
        "tower",
        "",
        "json:loads",
        assets=assets_in(tmp_path / "tower"),
        cost=Cost(parameters=400_000_000, image_gflops=162.0),
    )


def test_memory_is_the_parameters_in_their_precision_and_a_gigabyte_beside(tower: ScorerSpec) -> None:
    sizes = {
        word: examine(tower.at(word), free=None, speeds={}, decode_rate=1.0).memory for word in ("fp32", "bf16", "fp16")
    }
    assert sizes == {"fp32": 2_600_000_000, "bf16": 1_800_000_000, "fp16": 1_800_000_000}


def test_a_rate_is_the_speed_over_the_cost_and_never_above_the_decoder(tower: ScorerSpec) -> None:
    speeds = {"fp32": 1620.0, "bf16": 324_000.0}
    assert examine(tower, free=None, speeds=speeds, decode_rate=500.0).rate == pytest.approx(10.0)
    assert examine(tower.at("bf16"), free=None, speeds=speeds, decode_rate=500.0).rate == 500.0
    assert examine(tower.at("fp16"), free=None, speeds=speeds, decode_rate=500.0).rate is None


def test_a_scorer_without_room_cannot_run(tower: ScorerSpec) -> None:
    found = examine(tower, free=2_000_000_000, speeds={}, decode_rate=1.0)
    assert (found.runs, found.why) == (False, "takes about 2.6 GB of memory; 2.0 GB are free")
    assert examine(tower.at("bf16"), free=2_000_000_000, speeds={}, decode_rate=1.0).runs


def test_missing_weights_are_told_with_the_command_that_gets_them(tower: ScorerSpec) -> None:
    far = replace(tower, name="far", assets=(Asset("far/x", source="hf://org/far@main/x", bytes=7),))
    found = examine(far, free=None, speeds={}, decode_rate=1.0)
    assert (found.runs, found.stand.state, found.stand.bytes) == (False, "missing", 7)
    assert "pairsieve scorers pull far" in found.why


def test_together_a_tower_that_is_shared_is_paid_once(tower: ScorerSpec) -> None:
    head = replace(tower, name="head", cost=Cost(parameters=1, image_gflops=160.0))
    other = replace(tower, name="other", assets=(Asset("other/x", path=tower.assets[0].path),))
    speeds = {"fp32": 1620.0}
    found = [examine(spec, free=None, speeds=speeds, decode_rate=100.0) for spec in (tower, head, other)]
    assert together(found[:2], speeds=speeds, decode_rate=100.0) == pytest.approx(10.0)
    assert together(found, speeds=speeds, decode_rate=100.0) == pytest.approx(5.0)
    assert together(found, speeds=speeds, decode_rate=2.0) == 2.0
    assert together(found, speeds={}, decode_rate=2.0) is None


def test_a_precision_has_the_word_that_names_it(tower: ScorerSpec) -> None:
    assert [precision_of(tower.at(word)) for word in ("fp32", "bf16", "fp16")] == ["fp32", "bf16", "fp16"]


def test_decoding_is_measured_and_counted_for_each_process() -> None:
    one, many = decoding_rate(1, seconds=0.2), decoding_rate(50, seconds=0.2)
    assert 1 < one < 10_000
    assert many > 5 * one  # fifty times, on a machine where others run
