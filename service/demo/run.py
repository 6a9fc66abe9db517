"""Runs the loop stage by stage. Every stage finds what an earlier run left in the store and makes the rest."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ranking.errors import PairsieveError, StoreError
from ranking.ingest import ingest
from ranking.plan import create_plan
from ranking.runs import plan_run
from ranking.store.blobs import Store
from ranking.store.snapshots import Snapshot, create_snapshot
from ranking.subsets.catalog import Subset
from ranking.subsets.recipe import parse_recipe
from ranking.subsets.select import create_subset
from service.console import progress_bar, say, stage_bars
from service.demo.truth import LabelAccuracy, label_accuracy

DATASET = "toyworld"
SCORERS = ("clip-toy", "aesthetic-toy", "preference-toy", "technical")
QUALITY = {"name": "qsd", "scorer": "preference-toy", "normalize": "minmax"}


@dataclass(frozen=True)
class DemoOptions:
    """What to run. `noise` is a share in [0, 0.5], `top` a percentage of the pairs that have a winner."""

    folder: Path
    pairs: int
    noise: float
    top: float
    steps: int
    seed: int


@dataclass(frozen=True)
class Trained:
    """One subset, the run on it and its evaluation (as `training.evaluation.records.Evaluation` gives it)."""

    title: str
    subset: Subset
    run_id: str
    output: str
    accuracy: LabelAccuracy
    evaluation: Any


@dataclass(frozen=True)
class Outcome:
    """Everything the table and the report show. `seconds` are of this call, by stage."""

    options: DemoOptions
    store: Store
    snapshot: Snapshot
    truth: Path
    pairs: int
    images: int
    all_labels: LabelAccuracy
    best: Trained
    control: Trained
    report: Path
    seconds: dict[str, float]


def run_demo(options: DemoOptions, *, quiet: bool = False) -> Outcome:
    """The loop on Toyworld in `options.folder`; writes report.html there and returns what came out."""
    clock = _Clock()
    data = _toyworld(options, clock, quiet=quiet)
    store = Store.open(options.folder / "store")
    # One dataset per set of options, so that another seed or size does not mix with the last.
    dataset = f"{DATASET}-{data.name}"
    with clock.stage("ingest"), progress_bar("reading pairs", quiet=quiet) as advance:
        ingest(store, data / "data", dataset, progress=advance)
    with clock.stage("score"):
        _score(store, dataset, quiet=quiet)
    with clock.stage("select"):
        snapshot = create_snapshot(store)
        best = create_subset(store, _recipe(options, dataset, "best", QUALITY), snapshot)
        control = create_subset(store, _recipe(options, dataset, "random", {"name": "random"}), snapshot)
    trained = [
        _train(store, subset, title, data / "truth.parquet", options, clock, quiet=quiet)
        for subset, title in ((best, "best by quality"), (control, "random, as many"))
    ]
    with clock.stage("report"):
        from service.demo.report import write_report

        accuracy = label_accuracy(store, data / "truth.parquet", snapshot, dataset)
        outcome = Outcome(
            options=options,
            store=store,
            snapshot=snapshot,
            truth=data / "truth.parquet",
            pairs=accuracy.pairs,
            images=accuracy.images,
            all_labels=accuracy,
            best=trained[0],
            control=trained[1],
            report=options.folder / "report.html",
            seconds=clock.seconds,
        )
        write_report(outcome, dataset)
    return outcome


def _toyworld(options: DemoOptions, clock: _Clock, *, quiet: bool) -> Path:
    """The folder of this demo's pairs, written now unless it is there."""
    from training.toyworld.dataset import write_dataset

    # Every digit of the noise: a rounded one would find the pairs of another noise and call them its own.
    name = f"{options.pairs}-n{100 * options.noise:.12g}-s{options.seed}"
    data = options.folder / "data" / name
    if (data / "made.json").exists():
        return data
    unfinished = data.with_name(f"{name}.unfinished")
    try:
        data.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(unfinished, ignore_errors=True)
        shutil.rmtree(data, ignore_errors=True)
        with clock.stage("make pairs"):
            if not quiet:
                say(f"Drawing {options.pairs:,} Toyworld pairs…")
            written = write_dataset(unfinished, pairs=options.pairs, noise=options.noise, seed=options.seed)
        (unfinished / "made.json").write_text(json.dumps({"pairs": written.pairs, "images": written.images}))
        unfinished.rename(data)
    except OSError as error:
        raise StoreError(
            f"{options.folder} cannot be written ({error.strerror})", hint="choose another --folder"
        ) from error
    return data


def _score(store: Store, dataset: str, *, quiet: bool) -> None:
    from service.commands.score import score_now
    from workers.scorers.registry import resolve

    plan = create_plan(store, dataset, resolve(SCORERS).values())
    report = score_now(store, plan, list(SCORERS), device="auto", quiet=quiet)
    if report.errors:
        raise PairsieveError(f"scoring failed: {report.errors[0]}", code="slices-failed")


def _recipe(options: DemoOptions, dataset: str, name: str, metric: dict[str, str]) -> Any:
    return parse_recipe(
        {
            "name": f"{dataset}-{name}",
            "dataset": dataset,
            "metric": metric,
            "take": {"percent": options.top},
            "seed": options.seed,
        }
    )


def _train(
    store: Store,
    subset: Subset,
    title: str,
    truth: Path,
    options: DemoOptions,
    clock: _Clock,
    *,
    quiet: bool,
) -> Trained:
    from training.config import TrainConfig
    from training.evaluation.run import evaluate
    from training.trainer import train

    config = TrainConfig(steps=options.steps, seed=options.seed)
    run = plan_run(store, subset.ref, config.model_dump(mode="json"))
    if not quiet:
        say(f"\nTraining on {subset.rows} pairs, {title}:")
    with stage_bars(quiet=quiet) as stage:
        with clock.stage("train"):
            result = train(store, run.run_id, progress=stage)
        with clock.stage("evaluate"):
            evaluation = evaluate(store, run.run_id, progress=stage)
    accuracy = label_accuracy(store, truth, None, subset.dataset, subset=subset)
    return Trained(title, subset, run.run_id, result.output, accuracy, evaluation)


class _Clock:
    """Adds up seconds by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - started


def facts(outcome: Outcome) -> dict[str, Any]:
    """The outcome as plain JSON: what `demo --json` prints."""
    return {
        "pairs": outcome.pairs,
        "images": outcome.images,
        "snapshot": outcome.snapshot.n,
        "label_accuracy": {
            "all": outcome.all_labels.accuracy,
            "best": outcome.best.accuracy.accuracy,
            "random": outcome.control.accuracy.accuracy,
        },
        "runs": {
            "best": {"run": outcome.best.run_id} | asdict(outcome.best.evaluation),
            "random": {"run": outcome.control.run_id} | asdict(outcome.control.evaluation),
        },
        "report": str(outcome.report),
        "seconds": {name: round(value, 1) for name, value in outcome.seconds.items()},
    }
