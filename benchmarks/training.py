"""Steps of Diffusion-DPO with LoRA on Stable Diffusion 1.5's shape, a quarter of its channels, four pairs a step, in
float32 on one thread: diffusers' public script against ours with nothing cached, with latents and text states cached,
and with the reference's errors too; time at 256 px, memory at 512 px. `PAIRSIEVE_PUBLIC_SCRIPT` names a copy of that
script (examples/research_projects/diffusion_dpo/train_diffusion_dpo.py in huggingface/diffusers); without it ours are
compared with each other alone."""

from __future__ import annotations

import os
import runpy
import statistics
import sys
from pathlib import Path
from typing import Any

from benchmarks.measuring import Cost, cost_of

BATCH, RANK, FEW, MANY, ROUNDS = 4, 4, 2, 8, 3
QUICK, WHOLE = 256, 512  # pixels: what is timed, and the model's own size, at which memory is measured
EXACT = {"MALLOC_MMAP_THRESHOLD_": str(2**17), "MALLOC_MMAP_MAX_": str(10**7)}
"""glibc gives every larger piece back when it is freed, so that what a process holds is what it uses."""
CACHES: dict[str, dict[str, Any]] = {
    "nothing cached": {"latents": False, "prompts": False},
    "latents cached": {},
    "reference cached": {"reference_draws": 1},
}


def measure(folder: Path) -> dict[str, str]:
    """Seconds a step are those of a training of MANY steps less those of one of FEW, so neither imports nor loading
    count; of processors, as they do not depend on who else computes. The median of rounds, variants taking turns.
    Memory is the most that the process of one step holds, libraries included."""
    from benchmarks.training_assets import write_model, write_pictures

    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
    for side, pairs in ((QUICK, BATCH * MANY), (WHOLE, BATCH)):
        write_model(folder / f"{side}" / "model")
        write_pictures(folder / f"{side}" / "data", pairs=pairs, side=side)
    script = os.environ.get("PAIRSIEVE_PUBLIC_SCRIPT", "")
    variants = [*(["public script"] if script else []), *CACHES]

    def cost(name: str, side: int, steps: int, turn: int) -> Cost:
        return cost_of("benchmarks.training", name, folder / f"{side}", side, steps, turn, script)

    for name in CACHES:  # what is cached is there before anything is measured
        cost(name, QUICK, MANY, -1)
        cost(name, WHOLE, 1, -1)
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for turn in range(ROUNDS):
        for name in variants:
            few, many = (cost(name, QUICK, steps, turn) for steps in (FEW, MANY))
            seconds[name].append((many.cpu_seconds - few.cpu_seconds) / (MANY - FEW))
    os.environ |= EXACT
    return _table(seconds, {name: cost(name, WHOLE, 1, ROUNDS).own_bytes for name in variants})


def work(name: str, folder: str, side: int, steps: int, turn: int, script: str = "") -> None:
    """Train `steps` steps in this process."""
    import warnings

    warnings.simplefilter("ignore")
    if name == "public script":
        _public(Path(folder), side, steps, script)
    else:
        _ours(Path(folder), side, steps, turn, CACHES[name])


def _public(folder: Path, side: int, steps: int, script: str) -> None:
    options = {
        "pretrained_model_name_or_path": folder / "model",
        "dataset_name": folder / "data",
        "dataset_split_name": "train",
        "cache_dir": folder / "datasets",
        "resolution": side,
        "train_batch_size": BATCH,
        "max_train_steps": steps,
        "rank": RANK,
        "output_dir": folder / "public",
        "seed": 0,
    }
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    sys.argv = [script, *words, "--no_hflip"]
    runpy.run_path(script, run_name="__main__")


def _ours(folder: Path, side: int, steps: int, turn: int, cache: dict[str, Any]) -> None:
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
            "data": {"resolution": side, "prompt_dropout": 0},
            "cache": cache,
            "device": "cpu",
            "evaluation": None,
        }
    )
    train(store, plan_run(store, subset.ref, config.model_dump(mode="json")).run_id)


def _table(seconds: dict[str, list[float]], held: dict[str, int]) -> dict[str, str]:
    first = next(iter(seconds))
    base = statistics.median(seconds[first])
    return {
        name: f"{statistics.median(found):.2f} s a step ({min(found):.2f} to {max(found):.2f}), "
        f"{base / statistics.median(found):.2f} × {first}; "
        f"{held[name] / 1e9:.2f} GB, {held[name] / held[first]:.2f} ×"
        for name, found in seconds.items()
    }
