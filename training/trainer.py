"""Executes a planned run: one training on one subset, committed by one marker at the end.

Every attempt writes into a folder of its own; `finish_run` names the one that counts. So a killed attempt leaves
nothing that anyone reads but its checkpoints, from which the next one goes on, and two attempts at once cost time but
cannot mix.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from ranking.checkpoints import drop_checkpoints
from ranking.errors import PairsieveError
from ranking.names import parse_json
from ranking.runs import finish_run, get_run, record_run_attempt, run_result, run_state
from ranking.store.blobs import Store, clear_errors
from ranking.store.refs import pin
from ranking.store.snapshots import get_snapshot
from ranking.subsets.catalog import Subset, get_subset
from training.config import TrainConfig, parse_config
from training.data.material import Material, load_material
from training.data.pairs import from_store
from training.loop.checkpoints import Checkpoints, facts_of
from training.loop.heartbeat import beating
from training.loop.launch import device_of, make_accelerator, summed
from training.loop.memory import clear_of_memory
from training.loop.stops import StoppedError, Stops
from training.loop.training import Training
from training.models.load import load_model
from training.progress import Progress, silent
from training.watch.meter import Step
from training.watch.recorders import METRICS
from training.watch.watching import Watching
from workers.identity import worker_name
from workers.scorers.runtime import pick_device

Say = Callable[[str], None]
"""Hears a sentence for people."""


@dataclass(frozen=True)
class RunResult:
    """What a finished run left: the store folder of its files, and its first and last numbers, None where the method
    has no such number. Of the subset's pairs it saw `pairs`; of the others an image could not be read (`skipped`), was
    taken down, or they were ties that the config drops."""

    output: str
    pairs: int
    skipped: int
    steps: int
    first_loss: float
    last_loss: float
    last_implicit_accuracy: float | None
    seconds: float
    device: str
    model_fingerprint: str
    taken_down: int = 0
    ties: int = 0
    resumed: int = 0
    processes: int = 1


@dataclass(frozen=True)
class Ears:
    """Who hears of a run while it goes on: `progress` of how far a stage is, `say` sentences, `step` every step."""

    progress: Progress = silent
    say: Say = lambda _: None
    step: Callable[[Step], None] = lambda _: None


def train(
    store: Store,
    run_id: str,
    *,
    worker: str = "",
    progress: Progress | None = None,
    before_done: Callable[[str], object] | None = None,
    say: Say | None = None,
    on_step: Callable[[Step], None] | None = None,
    stop: Callable[[], bool] | None = None,
    from_scratch: bool = False,
) -> RunResult:
    """Train the planned run and return its result; a run that is done already is not trained again, and one that has a
    checkpoint goes on from it, unless it is to begin `from_scratch`.

    `before_done` gets the store folder of the trained model and runs before the run counts as done, so that a run
    with an evaluation in its config is never done without one. `worker` names this process in the attempt's record;
    `stop` is asked between forward passes whether the run should be put aside.

    Raises StoppedError where it was told to stop, by `stop` or a signal, and otherwise PairsieveError: the model, the
    subset or its images cannot be used, the loss stops being finite, or memory or disk do not suffice.
    """
    plan = get_run(store, run_id)
    if run_state(store, run_id) == "done":
        return RunResult(**run_result(store, run_id))
    config = parse_config(plan.config, where=f"run {run_id}")
    subset = get_subset(store, plan.subset)
    ears = Ears(progress or silent, say or (lambda _: None), on_step or (lambda _: None))
    # Before anything of it is read, so that no collection retires what this run cites.
    pin(store, "training", run_id, get_snapshot(store, subset.snapshot.n), why=f"run on {subset.ref}")
    attempt = record_run_attempt(store, run_id, worker=worker or worker_name())
    if from_scratch:
        drop_checkpoints(store, run_id)
    stops = Stops(run_id, elsewhere=stop)
    with stops.listening(), beating(store, run_id), clear_of_memory(config):
        result = _attempt(store, run_id, config, subset, attempt, ears=ears, stops=stops, before_done=before_done)
    finish_run(store, run_id, asdict(result))
    drop_checkpoints(store, run_id)
    return RunResult(**run_result(store, run_id))
