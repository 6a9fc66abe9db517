"""Executes a planned run: one training on one subset, committed by one marker at the end.

Every attempt writes into a folder of its own; `finish_run` names the one that counts. So a killed attempt leaves
nothing that anyone reads but its checkpoints, from which the next one goes on, and two attempts at once cost time but
cannot mix.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from ranking.checkpoints import drop_checkpoints
from ranking.errors import PairsieveError
from ranking.runs import finish_run, get_run, record_run_attempt, run_result, run_state
from ranking.store.blobs import Store, clear_errors
from ranking.store.refs import pin
from ranking.store.snapshots import get_snapshot
from ranking.subsets.catalog import Subset
from ranking.subsets.foreign import ForeignSubset, find_subset
from training.caches.provide import Round, load_material
from training.compiling import clear_of_compiling
from training.config import TrainConfig, parse_config
from training.data.material import Material
from training.data.pairs import PairSource
from training.data.preparing import refuse_early
from training.data.rest import source_of
from training.evaluation.prompts import read_prompts
from training.loop.checkpoints import Checkpoints, facts_of
from training.loop.heartbeat import beating
from training.loop.launch import device_of, make_accelerator, summed
from training.loop.memory import clear_of_memory
from training.loop.stops import Interruption, StoppedError, Stops
from training.loop.training import Training
from training.models.base import DiffusionModel
from training.models.describe import Description
from training.models.load import load_for
from training.progress import Progress, silent
from training.run_card import put_card
from training.watch.live import forget
from training.watch.meter import Step
from training.watch.recorders import recorded
from training.watch.watching import Watching
from workers.identity import worker_name
from workers.scorers.runtime import pick_device

Say = Callable[[str], None]
"""Hears a sentence for people."""

_CAPTIONS = 64
"""More prompts than any grid of samples shows."""


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
    subset = find_subset(store, plan.subset)
    if isinstance(subset, Subset):
        # Before anything of it is read, so that no collection retires what this run cites.
        pin(store, "training", run_id, get_snapshot(store, subset.snapshot.n), why=f"run on {subset.ref}")
    attempt = record_run_attempt(store, run_id, worker=worker or worker_name())
    if from_scratch:
        drop_checkpoints(store, run_id)
    stops = Stops(run_id, elsewhere=stop)
    ears = Ears(progress or silent, say or (lambda _: None), on_step or (lambda _: None))
    with stops.listening(), beating(store, run_id), clear_of_compiling(), clear_of_memory(config):
        work = _Work(store, run_id, config, subset, attempt, ears, stops)
        result = work.train()
        assert result is not None
        assert work.description is not None
        if before_done is not None:
            stops.where = "before it was evaluated"
            before_done(result.output)
        put_card(
            store,
            run_id,
            config=config,
            subset=subset if isinstance(subset, Subset) else subset.subset,
            description=work.description,
            result=asdict(result),
        )
    finish_run(store, run_id, asdict(result))
    forget(store, run_id)  # its metrics.jsonl says the same, and more
    drop_checkpoints(store, run_id)
    return RunResult(**run_result(store, run_id))


def follow(store: Store, run_id: str, *, config: TrainConfig | None = None) -> None:
    """Train in a process that only helps the first one, which keeps the records and puts everything aside. With the
    run's `config` that one need not have planned the run yet."""
    config = config or parse_config(get_run(store, run_id).config, where=f"run {run_id}")
    stops = Stops(run_id)
    try:
        with stops.listening(), clear_of_compiling(), clear_of_memory(config):
            make_accelerator(config.device)  # waits for the first process, which plans before it trains
            subset = find_subset(store, get_run(store, run_id).subset)
            _Work(store, run_id, config, subset, attempt=None, ears=Ears(), stops=stops).train()
    except StoppedError:
        if not stops.agreed:  # otherwise the first process says it
            raise


@dataclass
class _Work:
    """One process's share of an attempt; `attempt` is None in all but the first."""

    store: Store
    run_id: str
    config: TrainConfig
    subset: Subset | ForeignSubset
    attempt: str | None
    ears: Ears
    stops: Stops
    description: Description | None = None

    def train(self) -> RunResult | None:
        """Load, go on, train, save; the result of the first process."""
        started = time.monotonic()
        accelerator = make_accelerator(self.config.device)
        device = device_of(accelerator, pick_device(self.config.device))
        source = source_of(self.store, self.subset)
        refuse_early(source.rows, self.config, processes=accelerator.num_processes)
        model, material = self._loaded(source, device, turn=accelerator.process_index / accelerator.num_processes)
        self.description = model.description
        training = Training(model, material, self.config, accelerator=accelerator)
        record = self.subset if isinstance(self.subset, Subset) else self.subset.subset
        facts = facts_of(model, material.rows, subset=record.sha256, device=device, processes=accelerator.num_processes)
        checkpoints = Checkpoints(self.store, self.run_id, self.config.checkpoints, self.attempt, facts, self.ears.say)
        with self.store.unfinished(f"run {self.run_id}") as folder:
            with self._watching(folder, material) as watching:
                resumed = checkpoints.resume(training, watching)
                self._steps(training, checkpoints, watching)
            denoiser = training.assembled()  # of sharded weights every process holds a part
            if self.attempt is None:
                return None
            with clear_errors(f"the model of run {self.run_id}"):
                model.save(folder, denoiser, self.config.save)
            records = recorded(folder, before=self.config.steps)
            output = f"runs/{self.run_id}/output-{self.attempt[:12]}"
            _place(self.store, folder, output)
        return RunResult(
            output=output,
            pairs=len(material),
            skipped=material.skipped,
            steps=len(records),
            first_loss=records[0]["loss"],
            last_loss=records[-1]["loss"],
            last_implicit_accuracy=records[-1]["implicit_accuracy"],
            seconds=round(time.monotonic() - started, 2),
            device=device,
            model_fingerprint=model.fingerprint,
            taken_down=material.rows.taken_down,
            ties=material.rows.ties,
            resumed=resumed,
            processes=accelerator.num_processes,
        )

    def _loaded(self, source: PairSource, device: str, *, turn: float) -> tuple[DiffusionModel, Material]:
        config = self.config
        model = load_for(config, device=device)
        say = self.ears.say if self.attempt is not None else None
        material = load_material(source, model, config, way=Round(self.ears.progress, turn, say))
        if config.cache.latents and config.cache.prompts:
            model.set_aside()
        return model, material

    def _steps(self, training: Training, checkpoints: Checkpoints, watching: Watching | None) -> None:
        steps = self.config.steps
        self.stops.where = "before its first step"
        try:
            with self.stops.deferred():
                while training.step < steps:
                    self._look(training, watching)
                    self._step(training, watching)
                    stop, due = self._agreed(training, self.stops.asked, checkpoints.due(training.step))
                    if stop or (due and training.step < steps):
                        checkpoints.put(training, watching)
                    if stop:
                        self.stops.agreed = True
                        raise self.stops.error(f"before step {training.step} of {steps}, and its state is put aside")
                self._look(training, watching)
                # So that what comes now, and may take hours, costs no step where it is cut off.
                if self._agreed(training, checkpoints.worth_while, False)[0]:
                    checkpoints.put(training, watching)
        except StoppedError:
            raise
        except PairsieveError as error:
            raise PairsieveError(
                f"{error.message}; {checkpoints.latest()}", code=error.code, hint=error.hint
            ) from error

    def _step(self, training: Training, watching: Watching | None) -> None:
        # Where several work together they must agree, which they do between steps.
        alone = training.accelerator.num_processes == 1
        try:
            step = training.advance(between=self.stops.interrupt if alone else None)
        except Interruption:
            return
        if watching is not None:
            watching.record(step)
        self.ears.step(step)
        self.ears.progress("train", step.step + 1, self.config.steps)

    def _look(self, training: Training, watching: Watching | None) -> None:
        if watching is not None:
            with training.precision():
                watching.look(training.model, training.denoiser, training.step)

    def _watching(self, folder: Path, material: Material) -> AbstractContextManager[Watching | None]:
        if self.attempt is None:
            return nullcontext()
        captions = self._captions(material) if self.config.watch.samples is not None else []
        return Watching(self.store, self.run_id, self.config, folder, attempt=self.attempt, captions=captions)

    def _captions(self, material: Material) -> list[str]:
        """What samples are drawn of while it trains: where there is an evaluation what that draws, to be compared."""
        if self.config.evaluation is not None:
            return read_prompts(self.config.evaluation.prompts)
        return material.rows.texts.slice(0, _CAPTIONS).to_pylist()

    def _agreed(self, training: Training, *flags: bool) -> list[bool]:
        """Each flag if any process has it up: clocks and signals are each one's own."""
        counts = summed(torch.tensor(flags, dtype=torch.float32, device=training.model.device), training.accelerator)
        return [count > 0 for count in counts.tolist()]


def _place(store: Store, folder: Path, output: str) -> None:
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        store.put_file(f"{output}/{path.relative_to(folder).as_posix()}", path)
