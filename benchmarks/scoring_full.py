"""Scoring with a full-size ViT-L/14 of random weights, end to end, against the bare forward pass of the same tower on
tensors that lie ready. PAIRSIEVE_BENCH_LARGE=1 takes three times as many images."""

from __future__ import annotations

import os
import statistics
from pathlib import Path
from typing import Any

from benchmarks.forward import Bare
from benchmarks.suite import suite, write_pairs
from ranking.ingest import ingest
from ranking.plan import create_plan
from ranking.store.blobs import Store
from workers.drive import DriveReport, score_here
from workers.engine.decoders import usable_cores
from workers.engine.report import bottleneck, stages_of
from workers.scorers.base import ScorerSpec
from workers.scorers.registry import Committee, committee_of
from workers.scorers.runtime import make_runtime

ROUNDS = 3
_PROMPTS = 4


def measure(folder: Path, *, tiny: bool = False) -> dict[str, Any]:
    """Medians of three rounds in float32 and in bfloat16; each round measures both, one after the other."""
    (folder / "weights").mkdir(parents=True)
    spec = suite(folder / "weights", tiny=tiny, names=("clip-l14",))["clip-l14"]
    images = 8 if tiny else 96 if os.environ.get("PAIRSIEVE_BENCH_LARGE") == "1" else 32
    facts: dict[str, Any] = {"processors": usable_cores(), "images a round": images}
    for word in ("fp32", "bf16"):
        facts |= {f"{word}, {name}": value for name, value in _measured(folder / word, spec.at(word), images).items()}
    return facts


def _measured(folder: Path, spec: ScorerSpec, images: int) -> dict[str, Any]:
    committee = committee_of([spec], make_runtime("cpu"))
    bare = Bare(spec, "cpu", committee.batch)
    bare.seconds(committee.batch // 4, 1)
    whole, alone, reports = [], [], []
    for turn in range(ROUNDS):
        report = scored(folder / str(turn), committee, prompts=_PROMPTS, images=images, seed=turn)
        reports.append(report)
        whole.append(images / report.elapsed)
        alone.append(images / bare.seconds(images, _PROMPTS))
    ratios = [a / b for a, b in zip(whole, alone, strict=True)]
    return {
        "end to end": f"{statistics.median(whole):.2f} images/s",
        "bare forward": f"{statistics.median(alone):.2f} images/s",
        "ratio": f"{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})",
        "held up by": bottleneck(stages_of([each for report in reports for each in report.reports])),
    }


def scored(folder: Path, committee: Committee, *, prompts: int, images: int, seed: int = 0) -> DriveReport:
    """Score new pairs with about so many images, none of which was scored before, in a store of their own."""
    write_pairs(folder / "pairs", prompts=prompts, per_prompt=images // prompts - 1, seed=1_000_000 * seed)
    store = Store.open(folder / "store")
    ingest(store, folder / "pairs" / "pairs.csv", "pairs")
    plan = create_plan(store, "pairs", committee.scorer_ids.values())
    report = score_here(store, plan, committee)
    if report.errors or not report.reports:
        raise RuntimeError("; ".join(report.errors) or "nothing was scored")
    return report
