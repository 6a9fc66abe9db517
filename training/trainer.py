"""Executes a planned run: one training on one subset, committed by one marker at the end.

Every attempt writes into a folder of its own; `finish_run` names the one that counts. So a killed attempt leaves
nothing that anyone reads, and two attempts at once cost time but cannot mix.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from ranking.runs import beat_run, finish_run, get_run, record_run_attempt, run_result, run_state
from ranking.store.blobs import Store
from ranking.store.refs import pin
from ranking.store.snapshots import get_snapshot
from ranking.subsets.catalog import get_subset
from training.config import parse_config
from training.data.material import load_material
from training.data.pairs import from_store
from training.loop.training import Training
from training.models.load import load_model
from training.progress import Progress, silent
from workers.identity import worker_name
from workers.scorers.runtime import pick_device

_HEARTBEAT_SECONDS = 5.0


@dataclass(frozen=True)
class RunResult:
    """What a finished run left: the store folder of its files, and its first and last numbers. Of the subset's pairs it
    saw `pairs`; of the others an image could not be read (`skipped`) or was taken down."""

    output: str
    pairs: int
    skipped: int
    steps: int
    first_loss: float
    last_loss: float
    last_implicit_accuracy: float
    seconds: float
    device: str
    model_fingerprint: str
    taken_down: int = 0


def train(
    store: Store,
    run_id: str,
    *,
    worker: str = "",
    progress: Progress | None = None,
    before_done: Callable[[str], object] | None = None,
) -> RunResult:
    """Train the planned run and return its result; a run that is done already is not trained again.

    `before_done` gets the store folder of the trained model and runs before the run counts as done, so that a run
    with an evaluation in its config is never done without one. `worker` names this process in the attempt's record.
    Raises PairsieveError where the model, the subset or its images cannot be used, or the loss stops being finite.
    """
    plan = get_run(store, run_id)
    if run_state(store, run_id) == "done":
        return RunResult(**run_result(store, run_id))
    config = parse_config(plan.config, where=f"run {run_id}")
    subset = get_subset(store, plan.subset)
    # Before anything of it is read, so that no collection retires what this run cites.
    pin(store, "training", run_id, get_snapshot(store, subset.snapshot.n), why=f"run on {subset.ref}")
    attempt = record_run_attempt(store, run_id, worker=worker or worker_name())
    tell = progress or silent
    started = time.monotonic()

    device = pick_device(config.device)
    model = load_model(config.model, device=device)
    source = from_store(store, subset)
    material = load_material(source, model, config, on_images=lambda done, total: tell("encode", done, total))
    folder = store.tmp() / f"run-{run_id}-{attempt}"
    folder.mkdir(parents=True)
    try:
        steps = []
        with (folder / "metrics.jsonl").open("x") as file:
            beaten = -_HEARTBEAT_SECONDS
            training = Training(model, material, config)
            while training.step < config.steps:
                step = training.advance()
                steps.append(step)
                file.write(json.dumps(asdict(step)) + "\n")
                tell("train", step.step + 1, config.steps)
                if time.monotonic() - beaten > _HEARTBEAT_SECONDS:
                    beat_run(store, run_id)
                    beaten = time.monotonic()
        model.save(folder, training.denoiser)
        output = f"runs/{run_id}/output-{attempt[:12]}"
        _place(store, folder, output)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    seconds = round(time.monotonic() - started, 2)
    if before_done is not None:
        before_done(output)
    result = RunResult(
        output=output,
        pairs=len(material),
        skipped=material.skipped,
        steps=len(steps),
        first_loss=steps[0].loss,
        last_loss=steps[-1].loss,
        last_implicit_accuracy=steps[-1].implicit_accuracy,
        seconds=seconds,
        device=device,
        model_fingerprint=model.fingerprint,
        taken_down=material.rows.taken_down,
    )
    finish_run(store, run_id, asdict(result))
    return RunResult(**run_result(store, run_id))


def _place(store: Store, folder: Path, output: str) -> None:
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        store.put_file(f"{output}/{path.relative_to(folder).as_posix()}", path)
