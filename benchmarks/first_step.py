"""From nothing to a trained step: `pairsieve train --preset toyworld` with one step and nothing cached, each time in a
fresh process, and what its time goes into. Seconds of processors on one thread, which do not depend on who else
computes; seconds by the clock in brackets."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.measuring import cost_of

PAIRS, ROUNDS = 100, 3
PRESET = {"preset": "toyworld", "steps": 1, "evaluation": None, "device": "cpu"}


def measure(folder: Path) -> dict[str, str]:
    """Medians of rounds, and the dearest. A round before them is not counted: it reads the libraries from disk."""
    from ranking.ingest import ingest
    from ranking.store.blobs import Store
    from ranking.store.snapshots import create_snapshot
    from ranking.subsets.recipe import parse_recipe
    from ranking.subsets.select import create_subset
    from training.toyworld.dataset import write_dataset

    os.environ["OMP_NUM_THREADS"] = "1"
    store = Store.open(folder / "store")
    ingest(store, write_dataset(folder / "toy", pairs=PAIRS, seed=0).data, "toy")
    recipe = {"name": "all", "dataset": "toy", "metric": {"name": "random"}, "take": {"percent": 100.0}}
    create_subset(store, parse_recipe(recipe), create_snapshot(store))
    whole: list[tuple[float, float]] = []
    parts: dict[str, list[tuple[float, float]]] = {}
    for turn in range(ROUNDS + 1):
        command = cost_of("benchmarks.first_step", "command", folder, turn)
        found = cost_of("benchmarks.first_step", "parts", folder, ROUNDS + 1 + turn).result
        if turn:
            whole.append((command.cpu_seconds, command.seconds))
            for part, cost in found.items():
                parts.setdefault(part, []).append(cost)
    return {"the whole command": _words(whole)} | {f"  {part}": _words(costs) for part, costs in parts.items()}


def work(what: str, folder: str, turn: int) -> dict[str, tuple[float, float]] | None:
    """Run the command, or its parts in this process, with caches of its own; the costs of the parts."""
    os.environ |= {"PAIRSIEVE_STORE": f"{folder}/store", "PAIRSIEVE_CACHE": f"{folder}/cache-{turn}"}
    values = PRESET | {"seed": turn}  # another seed makes another run, which is then not found done
    return _parts(values) if what == "parts" else _command(values)


def _command(values: dict[str, Any]) -> None:
    settings = [word for name, value in values.items() for word in ("--set", f"{name}={_yaml(value)}")]
    command = [sys.executable, "-m", "service.cli", "train", "--subset", "all", *settings]
    subprocess.run(command, check=True, capture_output=True)


def _parts(values: dict[str, Any]) -> dict[str, tuple[float, float]]:
    # What the process and what measures it took until here is none of the parts.
    marks = [("", time.process_time(), time.perf_counter())]

    def mark(part: str) -> None:
        marks.append((part, time.process_time(), time.perf_counter()))

    import training.trainer

    mark("torch and our own modules")
    import diffusers.models.autoencoders.autoencoder_kl
    import diffusers.models.unets.unet_2d_condition  # noqa: F401
    import transformers

    assert transformers.CLIPTextModel  # is imported where it is first named
    mark("diffusers, peft and transformers")
    from training.models.load import load_model

    load_model("toyworld", device="cpu")
    mark("the model")
    from ranking.runs import plan_run
    from ranking.store.blobs import Store
    from ranking.subsets.foreign import find_subset
    from training.config import parse_config

    store = Store.open(os.environ["PAIRSIEVE_STORE"])
    run = plan_run(store, find_subset(store, "all").ref, parse_config(values).model_dump(mode="json"))
    training.trainer.train(store, run.run_id, on_step=lambda _: mark("caches and the first step"))
    mark("saving")
    return {after[0]: (after[1] - before[1], after[2] - before[2]) for before, after in pairwise(marks)}


def _yaml(value: Any) -> str:
    return "null" if value is None else str(value)


def _words(costs: list[tuple[float, float]]) -> str:
    cpu, clock = ([cost[which] for cost in costs] for which in (0, 1))
    return f"{statistics.median(cpu):.2f} s, at most {max(cpu):.2f} (by the clock {statistics.median(clock):.1f} s)"
