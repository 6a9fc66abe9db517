"""Where steps are written while a run goes on: metrics.jsonl and TensorBoard's files always, a tracker if the config
names one. A tracker's failure is said once and never ends a run."""

from __future__ import annotations

import importlib
import json
import logging
from pathlib import Path
from typing import Any, Final, Protocol

from PIL import Image

from ranking.errors import PairsieveError
from training.watch.series import BY_TIME, NAMES, Record, number, read_records

log = logging.getLogger(__name__)

METRICS: Final = "metrics.jsonl"
TENSORBOARD: Final = "tensorboard"


class Recorder(Protocol):
    """Hears of every step, and of every grid of samples."""

    def record(self, record: Record) -> None:
        """Write a step."""

    def picture(self, step: int, grid: Image.Image, caption: str) -> None:
        """Write a grid of samples."""

    def close(self) -> None:
        """Write what is left and let go."""


class JsonLines:
    """metrics.jsonl in a folder: a line per step, whole as soon as it is written."""

    def __init__(self, folder: Path) -> None:
        self._file = (folder / METRICS).open("a", encoding="utf-8")

    def record(self, record: Record) -> None:
        self._file.write(json.dumps(record, allow_nan=False, separators=(",", ":")) + "\n")
        self._file.flush()

    def picture(self, step: int, grid: Image.Image, caption: str) -> None:
        """Nothing: samples are in the store beside it."""

    def close(self) -> None:
        self._file.close()


class TensorBoard:
    """TensorBoard's event files in a folder, written by torch's SummaryWriter."""

    def __init__(self, folder: Path) -> None:
        # Loaded here, as it costs half a second that only a training should pay.
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder / TENSORBOARD), flush_secs=10)

    def record(self, record: Record) -> None:
        for name, value in scalars(record).items():
            self._writer.add_scalar(name, value, record["step"])

    def picture(self, step: int, grid: Image.Image, caption: str) -> None:
        import numpy as np

        self._writer.add_image("samples", np.asarray(grid), step, dataformats="HWC")
        self._writer.add_text("samples", caption, step)

    def close(self) -> None:
        self._writer.close()


class Tracker:
    """Weights & Biases, or trackio, whose door has the same shape. It is loaded when a run begins and never before."""

    def __init__(self, package: str, project: str, *, run_id: str, config: dict[str, Any]) -> None:
        try:
            self._package = importlib.import_module(package)
        except ImportError as error:
            raise PairsieveError(
                f"watch.{package} is set and {package} is not installed ({error})",
                code="package-missing",
                hint=f"pip install 'pairsieve[{package}]', or leave watch.{package} out",
            ) from error
        more: dict[str, Any] = {}
        if package == "wandb":
            # It would read along what the terminal shows, progress bars and all.
            more = {"id": run_id, "settings": {"console": "off"}}
        self._package.init(project=project, name=run_id, config=config, resume="allow", **more)

    def record(self, record: Record) -> None:
        self._package.log(scalars(record), step=record["step"])

    def picture(self, step: int, grid: Image.Image, caption: str) -> None:
        self._package.log({"samples": self._package.Image(grid, caption=caption)}, step=step)

    def close(self) -> None:
        self._package.finish()
        if self._package.__name__ == "wandb":
            self._package.teardown()  # else its service writes on for a moment, and may be cut off


class Guarded:
    """A recorder that may fail: it says so once, and hears nothing any more."""

    def __init__(self, name: str, inner: Recorder) -> None:
        self._name = name
        self._inner: Recorder | None = inner

    def record(self, record: Record) -> None:
        self._try("record", record)

    def picture(self, step: int, grid: Image.Image, caption: str) -> None:
        self._try("picture", step, grid, caption)

    def close(self) -> None:
        self._try("close")

    def _try(self, method: str, *given: Any) -> None:
        if self._inner is None:
            return
        try:
            getattr(self._inner, method)(*given)
        except Exception as error:  # whatever a tracker raises, the training is worth more
            self._inner = None
            log.warning("%s is left out from now on: %s: %s", self._name, type(error).__name__, error)


def trackers(watch: dict[str, Any], *, run_id: str, config: dict[str, Any]) -> list[Recorder]:
    """The trackers that a config's `watch` block names. One that is not installed is an error, for nothing was
    spent yet; one that cannot be reached is said and left out."""
    found: list[Recorder] = []
    for package in ("wandb", "trackio"):
        project = watch.get(package)
        if not project:
            continue
        try:
            found.append(Guarded(package, Tracker(package, project, run_id=run_id, config=config)))
        except PairsieveError:
            raise
        except Exception as error:
            log.warning("%s is left out: %s: %s", package, type(error).__name__, error)
    return found


def recorded(folder: Path, *, before: int) -> list[Record]:
    """The records of a folder's metrics.jsonl for steps below `before`, each once; none where there is no file."""
    path = folder / METRICS
    if not path.exists():
        return []
    with path.open(encoding="utf-8", errors="replace") as file:
        return [record for record in read_records(file) if record["step"] < before]


def scalars(record: Record) -> dict[str, float]:
    """The known numbers of a record by the names that trackers show: curves, then those by range of time, numbered from
    the least noise."""
    found = {name: value for name in NAMES if (value := number(record.get(name))) is not None}
    by_time = record.get("by_time") or {}
    for name in BY_TIME:
        for place, value in enumerate(by_time.get(name) or []):
            if (known := number(value)) is not None:
                found[f"{name}_by_time/{place:02d}"] = known
    return found
