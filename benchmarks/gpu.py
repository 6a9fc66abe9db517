"""The five scorers on one GPU in bfloat16: images a second end to end and by the bare towers, the share of the card's
own matrix rate, and what Pick-a-Pic v2 would take. Says so where there is no GPU."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import torch

from benchmarks.forward import Bare, peak_flops, towers_of
from benchmarks.scoring_full import scored
from benchmarks.suite import NAMES, suite, write_pairs
from benchmarks.usual import usual_seconds
from workers.engine.report import bottleneck, stages_of
from workers.scorers.base import ScorerSpec
from workers.scorers.registry import committee_of
from workers.scorers.runtime import make_runtime

PICKAPIC_IMAGES = 1_030_000
_IMAGES, _PROMPTS, _ROUNDS = 8192, 512, 3


def measure(folder: Path) -> dict[str, Any]:
    """The figures of `on_device` on the GPU that is here, in full size."""
    if not torch.cuda.is_available():
        return {"left out": "there is no GPU here"}
    return on_device(folder, "cuda")


def on_device(folder: Path, device: str, *, tiny: bool = False) -> dict[str, Any]:
    """End to end, bare and usual on one device; with `tiny` on towers and images that a test can pay for."""
    images, prompts = (8, 2) if tiny else (_IMAGES, _PROMPTS)
    (folder / "weights").mkdir(parents=True)
    specs = [spec.at("bf16") for spec in suite(folder / "weights", tiny=tiny).values()]
    committee = committee_of(specs, make_runtime(device))
    reports = [
        scored(folder / str(turn), committee, prompts=prompts, images=images, seed=turn)
        for turn in range(1 if tiny else _ROUNDS)
    ]
    whole = max(images / report.elapsed for report in reports)
    slices = [each for report in reports for each in report.reports]
    stages = stages_of(slices, sum(report.elapsed for report in reports))
    batch = committee.batch
    del committee
    gc.collect()
    bare = images / sum(_bare(spec, device, batch, images, prompts) for spec in towers_of(specs))
    peak = peak_flops(device, torch.bfloat16, side=256 if tiny else 8192, seconds=0.1 if tiny else 2.0)
    needed = sum(spec.cost.image_gflops for spec in towers_of(specs)) * 1e9
    pairs = write_pairs(folder / "usual", prompts=1, per_prompt=2 if tiny else 16)
    usual = sum(usual_seconds(spec.at("fp32"), pairs, device) for spec in specs) / len(pairs)
    return {
        "device": torch.cuda.get_device_name() if device.startswith("cuda") else device,
        "end to end": f"{whole:,.1f} images/s",
        "bare forward": f"{bare:,.1f} images/s",
        "ratio": f"{whole / bare:.3f}",
        "matrix rate of a large product": f"{peak / 1e12:,.2f} TFLOP/s",
        "share of it, end to end": f"{whole * needed / peak:.3f}",
        "share of it, bare": f"{bare * needed / peak:.3f}",
        "Pick-a-Pic v2 at this rate": f"{PICKAPIC_IMAGES / whole / 60:,.1f} minutes",
        "usual way": f"{usual:.3f} s a pair",
        "usual way ÷ ours": f"{usual * whole * len(pairs) / (len(pairs) + 1):.1f}",
        "scorers": ", ".join(NAMES),
        "held up by": bottleneck(stages),
    }


def _bare(spec: ScorerSpec, device: str, batch: int, images: int, prompts: int) -> float:
    tower = Bare(spec, device, batch)
    tower.seconds(batch, 1)
    seconds = tower.seconds(images, prompts)
    del tower
    gc.collect()
    return seconds
