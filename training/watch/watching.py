"""What a run shows of itself while it goes on: its steps to the recorders, its curves to the store, and its samples.
One per run, on the main process."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from torch import nn
from torch.distributed.tensor import DTensor

from ranking.errors import PairsieveError
from ranking.store.blobs import Store
from training.config import TrainConfig
from training.models.base import DiffusionModel
from training.watch import live
from training.watch.meter import Step
from training.watch.recorders import METRICS, JsonLines, Recorder, TensorBoard, recorded, trackers
from training.watch.samples import draw_grid, is_due, labelled, prompts_of, put_grid, samples_key
from training.watch.warnings import RunWarning, warnings_of

log = logging.getLogger(__name__)

_TELL_SECONDS: Final = 5.0


class Watching:
    """Records into `folder`, the attempt's own: metrics.jsonl and TensorBoard's files, which become part of the run's
    output. `captions` are drawn where the config's `watch.samples` names no prompts."""

    def __init__(
        self,
        store: Store,
        run_id: str,
        config: TrainConfig,
        folder: Path,
        *,
        attempt: str = "",
        captions: Sequence[str] = (),
    ) -> None:
        self._store, self._run_id, self._config, self._folder, self._attempt = store, run_id, config, folder, attempt
        self._values = config.model_dump(mode="json")
        # First, because they may refuse.
        self._trackers = trackers(self._values["watch"], run_id=run_id, config=self._values)
        self._files: list[Recorder] | None = None
        self._live = live.Live()
        self._told = 0.0
        self._prompts: list[str] = []
        if config.watch.samples is not None:
            self._prompts = prompts_of(config.watch.samples, captions)

    def __enter__(self) -> Watching:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tell()
        for recorder in (*(self._files or []), *self._trackers):
            recorder.close()

    def record(self, step: Step) -> None:
        """Write a step, and every few seconds tell those who watch."""
        self._hear(step.record(), [*self._open(), *self._trackers])
        if time.monotonic() - self._told > _TELL_SECONDS:
            self._tell()

    def look(self, model: DiffusionModel, denoiser: nn.Module, step: int) -> bool:
        """Draw the samples of a step if they are due and not drawn yet, and say whether they were. `step` is the number
        of the next step: 0 before the first, the config's `steps` after the last. To be called inside the training's
        `precision()`."""
        samples = self._config.watch.samples
        if samples is None or not self._prompts or not is_due(samples, step, steps=self._config.steps):
            return False
        if self._store.exists(samples_key(self._run_id, step)):
            return False
        if any(isinstance(each, DTensor) for each in denoiser.parameters()):
            # Its processes would have to draw together, and this one is alone here.
            log.warning("No samples while it trains: the denoiser is sharded over processes")
            self._prompts = []
            return False
        grid = draw_grid(model, denoiser, samples, prompts=self._prompts, step=step)
        if self._config.cache.latents and self._config.cache.prompts:
            model.set_aside()
        put_grid(self._store, self._run_id, grid)
        sheet, caption = labelled(grid), f"before step {step}: " + " · ".join(self._prompts)
        for recorder in (*self._open(), *self._trackers):
            recorder.picture(step, sheet, caption)
        return True

    def save(self, folder: Path) -> None:
        """Put what was recorded so far beside a checkpoint's state."""
        self._open()
        (folder / METRICS).write_bytes((self._folder / METRICS).read_bytes())

    def load(self, folder: Path, step: int) -> None:
        """Go on from a checkpoint that was put aside before step `step`: what was recorded of that step and later ones
        is dropped, and the rest written anew here. Before anything is recorded."""
        recorders = self._open()
        for record in recorded(folder, before=step):
            self._hear(dict(record), recorders)

    def warnings(self) -> list[RunWarning]:
        """What the steps so far give reason to warn of."""
        return warnings_of(self._live.records, self._values)

    def _open(self) -> list[Recorder]:
        if self._files is None:
            self._files = [JsonLines(self._folder), TensorBoard(self._folder)]
        return self._files

    def _hear(self, record: dict[str, Any], recorders: Sequence[Recorder]) -> None:
        for recorder in recorders:
            recorder.record(record)
        self._live.add(record)

    def _tell(self) -> None:
        # Whoever watches may wait; a disk that is full must not end the run here.
        with suppress(PairsieveError, OSError):
            live.tell(
                self._store, self._run_id, attempt=self._attempt, steps=self._config.steps, records=self._live.records
            )
        self._told = time.monotonic()
