"""When a training's state is put aside, what goes with it, and going on from it: only where the outcome is the one that
an undisturbed run would have had."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

from ranking.checkpoints import Checkpoint, checkpoint_folder, drop_checkpoints, list_checkpoints, put_checkpoint
from ranking.errors import PairsieveError, StoreError
from ranking.store.blobs import Store, clear_errors
from training.blocks import CheckpointConfig
from training.data.rows import PairRows
from training.models.base import DiffusionModel

_STATE = "state"
_EXACT = {"model": "the model's weights", "pairs": "the pairs it trains on", "subset": "the subset's pairs"}
_WORTH_SECONDS = 60.0
_PACKAGES = ("torch", "diffusers", "transformers", "accelerate", "peft")


class Saved(Protocol):
    """A training: what can be put aside and go on."""

    step: int

    def save(self, folder: Path) -> None:
        """Write the whole state."""

    def load(self, folder: Path) -> None:
        """Go on from it."""


class Recorded(Protocol):
    """What a training has recorded of itself: `training.watch.watching.Watching`."""

    def save(self, folder: Path) -> None:
        """Write what was recorded so far."""

    def load(self, folder: Path, step: int) -> None:
        """Go on from what was recorded of the steps before this one."""


def facts_of(model: DiffusionModel, rows: PairRows, *, subset: str, device: str, processes: int) -> dict[str, Any]:
    """What a checkpoint was made with. `subset` is the sha256 of the subset's pairs. Where model, pairs or subset are
    others, no training can go on from it; packages, device and processes only cost the last bits."""
    return {
        "model": model.fingerprint,
        "pairs": rows.fingerprint,
        "subset": subset,
        "made with": {name: version(name) for name in _PACKAGES}
        | {"python": platform.python_version(), "device": _device(device), "processes": processes},
    }


@dataclass
class Checkpoints:
    """The checkpoints of one attempt at a run. `attempt` is None in processes that only help: they write their share of
    the state, and the first one puts it aside."""

    store: Store
    run_id: str
    config: CheckpointConfig
    attempt: str | None
    facts: Mapping[str, Any]
    say: Callable[[str], None]
    _last: float = 0.0

    def __post_init__(self) -> None:
        self._last = time.monotonic()

    def resume(self, training: Saved, watching: Recorded | None) -> int:
        """Load the latest checkpoint whose files are whole, and return the step that the training goes on with: 0 where
        there is none.

        Raises PairsieveError where it was made with another model or other pairs.
        """
        for checkpoint in reversed(list_checkpoints(self.store, self.run_id)):
            self._check(checkpoint)
            try:
                folder = checkpoint_folder(self.store, checkpoint)
            except StoreError as error:
                self.say(f"The checkpoint at step {checkpoint.step} is passed over: {error.message}.")
                continue
            training.load(folder / _STATE)
            if training.step != checkpoint.step:
                raise StoreError(
                    f"the checkpoint of run {self.run_id} at step {checkpoint.step} holds the state of another step, "
                    f"{training.step}",
                    code="damaged",
                    hint="--from-scratch begins again",
                )
            if watching is not None:
                watching.load(folder, checkpoint.step)
            self.say(f"Run {self.run_id} goes on from its checkpoint at step {checkpoint.step}.")
            self._tell_differences(checkpoint)
            return checkpoint.step
        return 0

    def due(self, step: int) -> bool:
        """Whether the state before `step` is to be put aside now."""
        every, minutes = self.config.every, self.config.minutes
        return (every is not None and step % every == 0) or (
            minutes is not None and time.monotonic() - self._last >= 60 * minutes
        )

    @property
    def worth_while(self) -> bool:
        """Whether enough was done since the last checkpoint to put it aside before something else may fail."""
        return time.monotonic() - self._last >= _WORTH_SECONDS

    def put(self, training: Saved, watching: Recorded | None) -> None:
        """Put the state and what was recorded so far aside, and let older checkpoints go. Every process of a training
        calls this.

        Raises StoreError, the checkpoints before it untouched, where there is no room for it.
        """
        of_run = f"checkpoint of run {self.run_id}"
        with clear_errors(f"a {of_run}"), self.store.unfinished(of_run) as folder:
            training.save(folder / _STATE)
            if self.attempt is not None and watching is not None:
                watching.save(folder)
                put_checkpoint(self.store, self.run_id, training.step, folder, attempt=self.attempt, facts=self.facts)
                drop_checkpoints(self.store, self.run_id, keep=self.config.keep)
        self._last = time.monotonic()

    def latest(self) -> str:
        """The latest checkpoint in words, for the line that ends a run."""
        steps = [each.step for each in list_checkpoints(self.store, self.run_id)]
        return f"its checkpoint at step {steps[-1]} is kept" if steps else "there is no checkpoint yet"

    def _check(self, checkpoint: Checkpoint) -> None:
        for name, meaning in _EXACT.items():
            if checkpoint.facts.get(name) != self.facts[name]:
                raise PairsieveError(
                    f"run {self.run_id} cannot go on from its checkpoint at step {checkpoint.step}: {meaning} "
                    "are not what they were",
                    code="resume-differs",
                    hint="--from-scratch begins again",
                )

    def _tell_differences(self, checkpoint: Checkpoint) -> None:
        before, now = checkpoint.facts.get("made with", {}), self.facts["made with"]
        changed = [f"{name} {before.get(name)} → {now[name]}" for name in now if before.get(name) != now[name]]
        if changed:
            self.say(f"Not bit for bit from here on, as it was made with others: {', '.join(changed)}.")


def _device(device: str) -> str:
    if not device.startswith("cuda"):
        return device
    import torch

    return f"cuda ({torch.cuda.get_device_name(device)})"
