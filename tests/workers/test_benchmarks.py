"""The scoring benchmarks run, on tiny towers, and compare like with like."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.forward import Bare, towers_of
from benchmarks.gpu import on_device
from benchmarks.scoring_suite import measure as measure_suite
from benchmarks.suite import NAMES, suite, write_pairs
from benchmarks.usual import helper
from workers.scorers.registry import committee_of
from workers.scorers.runtime import Runtime


def test_the_usual_way_gives_the_scores_that_we_give(tmp_path: Path) -> None:
    specs = suite(tmp_path, tiny=True)
    pairs = write_pairs(tmp_path / "pairs", prompts=2, per_prompt=2, side=300)
    pictures = [Image.open(path).convert("RGB") for pair in pairs for path in pair.images]
    prompts = [pair.prompt for pair in pairs for _ in pair.images]
    ours = committee_of(list(specs.values()), Runtime()).score_pictures(pictures, prompts)
    for name in NAMES:
        with torch.no_grad():
            usual = np.array([score for pair in pairs for score in helper(specs[name], "cpu")(pair)])
        found = ours[specs[name].scorer_id].astype(np.float64)
        if name == "pickscore-v1":  # its helper gives probabilities
            found = np.exp(found.reshape(-1, 2))
            found = (found / found.sum(1, keepdims=True)).ravel()
        # transformers' fast image processor, which PickScore's helper uses, may round a pixel to its neighbour.
        assert np.abs(usual - found).max() < (1e-3 if name == "pickscore-v1" else 2e-6), name


def test_the_yardstick_has_each_tower_once(tmp_path: Path) -> None:
    towers = towers_of(list(suite(tmp_path, tiny=True).values()))
    assert [spec.name for spec in towers] == ["clip-l14", "pickscore-v1", "hpsv2.1", "imagereward-v1"]
    assert Bare(towers[0], "cpu", 4).seconds(6, 2) > 0


@pytest.mark.parametrize("measure", [measure_suite, lambda folder, tiny: on_device(folder, "cpu", tiny=tiny)])
def test_each_benchmark_gives_its_figures(tmp_path: Path, measure: object) -> None:
    facts = measure(tmp_path / "work", tiny=True)
    assert all(str(value) for value in facts.values()) and "held up by" in " ".join(facts)
