"""Five scorers of full size and random weights (CLIP ViT-L/14, aesthetic v2, PickScore, HPSv2.1, ImageReward): our
engine against the usual way, each scorer by its authors' helper, pair by pair and image by image. Takes 10 GB of disk,
14 GB of memory and half an hour on two processors, and so PAIRSIEVE_BENCH_LARGE=1."""

from __future__ import annotations

import os
import statistics
from pathlib import Path
from typing import Any

from benchmarks.scoring_full import scored
from benchmarks.suite import NAMES, suite, write_pairs
from benchmarks.usual import usual_seconds
from workers.engine.decoders import usable_cores
from workers.engine.report import bottleneck, stages_of
from workers.scorers.base import ScorerSpec
from workers.scorers.registry import committee_of
from workers.scorers.runtime import make_runtime

_PROMPTS, _PER_PROMPT = 2, 16
_USUAL_PAIRS, _ROUNDS = 3, 3


def measure(folder: Path, *, tiny: bool = False) -> dict[str, Any]:
    """Seconds a pair by the usual way (median of three times three pairs, model by model) and by ours (34 images for 32
    pairs of two prompts, like Pick-a-Pic's 1.07 images a pair), in float32 and bfloat16. Loading models is left out,
    but for what the usual way loads at each call."""
    if not tiny and os.environ.get("PAIRSIEVE_BENCH_LARGE") != "1":
        return {"left out": "set PAIRSIEVE_BENCH_LARGE=1"}
    (folder / "weights").mkdir(parents=True)
    specs = suite(folder / "weights", tiny=tiny)
    rounds, per_prompt = (1, 3) if tiny else (_ROUNDS, _PER_PROMPT)
    usual = {name: _usual(folder / "usual", specs[name], rounds) for name in NAMES}
    whole = sum(usual.values())
    facts: dict[str, Any] = {"processors": usable_cores()}
    facts |= {f"usual way, {name}": f"{seconds:.2f} s a pair" for name, seconds in usual.items()}
    facts["usual way, all"] = f"{whole:.2f} s a pair"
    for word in ("fp32",) if tiny else ("fp32", "bf16"):
        seconds, held_up = ours(folder / word, [spec.at(word) for spec in specs.values()], per_prompt)
        facts[f"ours, {word}"] = f"{seconds:.2f} s a pair"
        facts[f"usual way in fp32 ÷ ours in {word}"] = f"{whole / seconds:.2f}"
        facts[f"ours, {word}, held up by"] = held_up
    return facts


def ours(folder: Path, specs: list[ScorerSpec], per_prompt: int) -> tuple[float, str]:
    """Seconds a pair by the engine, and what held it up."""
    committee = committee_of(specs, make_runtime("cpu"))
    report = scored(folder, committee, prompts=_PROMPTS, images=_PROMPTS * (per_prompt + 1))
    return report.elapsed / (_PROMPTS * per_prompt), bottleneck(stages_of(report.reports, report.elapsed))


def _usual(folder: Path, spec: ScorerSpec, rounds: int) -> float:
    seconds = []
    for turn in range(rounds):
        pairs = write_pairs(folder / str(turn), prompts=1, per_prompt=_USUAL_PAIRS, seed=7000 + 100 * turn)
        seconds.append(usual_seconds(spec, pairs) / len(pairs))
    return statistics.median(seconds)
