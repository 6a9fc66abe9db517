"""Steps of Diffusion-DPO with LoRA on Stable Diffusion 1.5's shape, a quarter of its channels, 256 px, four pairs a
step, float32 on one thread: diffusers' public script against ours with nothing cached, with latents and text states
cached, and with the reference's errors too. `PAIRSIEVE_PUBLIC_SCRIPT` names a copy of that script
(examples/research_projects/diffusion_dpo/train_diffusion_dpo.py in huggingface/diffusers); without it ours are
compared with each other alone."""

from __future__ import annotations

import os
import runpy
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.measuring import Cost, cost_of

SIDE, BATCH, RANK, FEW, MANY, ROUNDS = 256, 4, 4, 2, 8, 3
CACHES: dict[str, dict[str, Any]] = {
    "nothing cached": {"latents": False, "prompts": False},
    "latents cached": {},
    "reference cached": {"reference_draws": 1},
}


@dataclass(frozen=True)
class Rate:
    """Seconds a step, and the most bytes that the process held."""

    seconds: float
    peak: int


def measure(folder: Path) -> dict[str, str]:
    """Seconds a step are those of a training of MANY steps less those of one of FEW, so neither imports nor loading
    count; of processors, as they do not depend on who else computes. The median of rounds, variants taking turns."""
    from benchmarks.training_assets import write_model, write_pictures

    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
    write_model(folder / "model")
    write_pictures(folder / "data", pairs=BATCH * MANY, side=SIDE)
    script = os.environ.get("PAIRSIEVE_PUBLIC_SCRIPT", "")
    variants = [*(["public script"] if script else []), *CACHES]
    for name in CACHES:  # what is cached is there before anything is measured
        cost_of("benchmarks.training", name, folder, MANY, -1)
    found: dict[str, list[Rate]] = {name: [] for name in variants}
    for number in range(ROUNDS):
        for name in variants:
            few, many = (cost_of("benchmarks.training", name, folder, steps, number, script) for steps in (FEW, MANY))
            found[name].append(_rate(few, many))
    return _table(found)


def work(name: str, folder: str, steps: int, turn: int, script: str = "") -> None:
    """Train `steps` steps in this process."""
    import warnings

    warnings.simplefilter("ignore")
    if name == "public script":
        _public(Path(folder), steps, script)
    else:
        _ours(Path(folder), steps, turn, CACHES[name])


def _public(folder: Path, steps: int, script: str) -> None:
    options = {
        "pretrained_model_name_or_path": folder / "model",
        "dataset_name": folder / "data",
        "dataset_split_name": "train",
        "cache_dir": folder / "datasets",
        "resolution": SIDE,
        "train_batch_size": BATCH,
        "max_train_steps": steps,
        "rank": RANK,
        "output_dir": folder / "public",
        "seed": 0,
    }
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    sys.argv = [script, *words, "--no_hflip"]
    runpy.run_path(script, run_name="__main__")


def _ours(folder: Path, steps: int, turn: int, cache: dict[str, Any]) -> None:
    from ranking.ingest import ingest
    from ranking.runs import plan_run
    from ranking.store.blobs import Store
    from ranking.store.snapshots import create_snapshot, latest_snapshot
    from ranking.subsets.recipe import parse_recipe
    from ranking.subsets.select import create_subset
    from training.config import parse_config
    from training.trainer import train

    os.environ["PAIRSIEVE_CACHE"] = str(folder / "cache")
    store = Store.open(folder / "store")
    snapshot = latest_snapshot(store)
    if snapshot is None:
        ingest(store, folder / "data", "pictures")
        snapshot = create_snapshot(store)
    recipe = {"name": "all", "dataset": "pictures", "metric": {"name": "random"}, "take": {"percent": 100.0}}
    subset = create_subset(store, parse_recipe(recipe), snapshot)
    config = parse_config(
        {
            "model": str(folder / "model"),
            "method": {"name": "dpo", "beta": 5000},
            "lora": {"rank": RANK},
            "steps": steps,
            "batch": BATCH,
            "learning_rate": 5e-4,
            # Not a multiple of anything: another number makes another run, which is then not found done.
            "weight_decay": 0.01 + 1e-6 * (turn + 1),
            "data": {"resolution": SIDE, "prompt_dropout": 0},
            "cache": cache,
            "device": "cpu",
            "evaluation": None,
        }
    )
    train(store, plan_run(store, subset.ref, config.model_dump(mode="json")).run_id)


def _rate(few: Cost, many: Cost) -> Rate:
    return Rate((many.cpu_seconds - few.cpu_seconds) / (MANY - FEW), many.own_bytes)


def _table(found: dict[str, list[Rate]]) -> dict[str, str]:
    first = next(iter(found))
    base = statistics.median(rate.seconds for rate in found[first])
    room = statistics.median(rate.peak for rate in found[first])
    rows = {}
    for name, rates in found.items():
        seconds = sorted(rate.seconds for rate in rates)
        peak = statistics.median(rate.peak for rate in rates)
        rows[name] = (
            f"{statistics.median(seconds):.2f} s a step ({seconds[0]:.2f} to {seconds[-1]:.2f}), "
            f"{base / statistics.median(seconds):.2f} × {first}; {peak / 1e9:.2f} GB, {peak / room:.2f} ×"
        )
    return rows
