"""Drawing and keeping samples: images lie in the store under a hash of what made them, so that a base model is drawn
once for all its runs, and a drawing that was interrupted goes on where it was."""

from __future__ import annotations

import io
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from ranking.errors import NotFoundError
from ranking.names import canonical_json, sha256_hex
from ranking.store.blobs import Store
from training.blocks import EvaluationConfig
from training.models.base import DiffusionModel
from workers.scorers.runtime import is_out_of_memory

_MOST = 48
_CPU_PIXELS = 2**19
_GPU_SHARE = 0.7


@dataclass(frozen=True)
class Samples:
    """Drawn images with the prompt and seed of each, and the key that they are stored under."""

    key: str
    prompts: list[str]
    seeds: list[int]
    images: list[Image.Image]

    @property
    def id(self) -> str:
        """The key's own part, 24 hex digits."""
        return Path(self.key).stem


def samples_key(model: DiffusionModel, output: str | None, prompts: list[str], settings: EvaluationConfig) -> str:
    """The store key of the samples of the base model (`output` None) or of a run's output folder."""
    made_by: dict[str, Any] = {
        "model": model.fingerprint,
        "output": output,
        "prompts": prompts,
        "images_per_prompt": settings.images_per_prompt,
        "steps": settings.inference_steps,
        "guidance": settings.guidance,
        "seed": settings.seed,
    }
    return f"samples/{sha256_hex(canonical_json(made_by))[:24]}.parquet"


def draw(
    store: Store,
    model: DiffusionModel,
    output: str | None,
    prompts: list[str],
    settings: EvaluationConfig,
    *,
    batch: int | None = None,
    on_images: Callable[[int, int], None] | None = None,
) -> Samples:
    """Samples of the base model (`output` None) or of a run's output folder, drawn now unless the store has them.

    `batch` images are drawn at once, as many as memory bears if it is not given, fewer after a batch that did not fit.
    Each batch is put aside on this machine when it is drawn: a drawing that was killed loses the open one. `on_images`
    hears (drawn, total).
    """
    key = samples_key(model, output, prompts, settings)
    if store.exists(key):
        return read_samples(store, key)
    repeated = [prompt for prompt in prompts for _ in range(settings.images_per_prompt)]
    seeds = [settings.seed + i for i in range(len(repeated))]
    aside = _Aside(store.tmp() / f"samples-{Path(key).stem}")
    tell = on_images or (lambda *_: None)
    denoiser: nn.Module | None = None
    while True:
        images = aside.read()
        missing = [place for place in range(len(repeated)) if place not in images]
        # Another process that draws the same may have finished meanwhile, and cleared away what it put aside.
        if store.exists(key):
            return read_samples(store, key)
        if not missing:
            break
        tell(len(images), len(repeated))
        if denoiser is None:
            denoiser = model.denoiser if output is None else model.load_trained(store.local_folder(output))
        for places, pixels in _batches(model, denoiser, repeated, seeds, missing, settings, batch):
            aside.put(places, pixels)
            missing = missing[len(places) :]
            tell(len(repeated) - len(missing), len(repeated))
    table = pa.table({"prompt": repeated, "seed": seeds, "image": [images[place] for place in range(len(repeated))]})
    unfinished = store.tmp() / f"samples-{Path(key).stem}-{uuid.uuid4().hex}"
    pq.write_table(table, unfinished)
    store.put_file(key, unfinished)
    aside.remove()
    return read_samples(store, key)


def read_samples(store: Store, key: str) -> Samples:
    """Stored samples. Raises NotFoundError where there are none under this key."""
    if not store.exists(key):
        raise NotFoundError(f"there are no samples {key}")
    table = pq.read_table(store.local(key), partitioning=None)
    images = [Image.open(io.BytesIO(data)).convert("RGB") for data in table["image"].to_pylist()]
    return Samples(key, table["prompt"].to_pylist(), table["seed"].to_pylist(), images)


class _Aside:
    """The images of one drawing that are there already: a file for each batch, its name a promise that it is whole."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, places: Sequence[int], pixels: NDArray[np.uint8]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        table = pa.table({"place": list(places), "image": [_png(each) for each in pixels]})
        unfinished = self.folder / f"{uuid.uuid4().hex}.unfinished"
        pq.write_table(table, unfinished)
        unfinished.rename(unfinished.with_suffix(".parquet"))

    def read(self) -> dict[int, bytes]:
        images: dict[int, bytes] = {}
        for path in sorted(self.folder.glob("*.parquet")):
            try:
                table = pq.read_table(path, partitioning=None)
            except FileNotFoundError:
                continue
            images |= dict(zip(table["place"].to_pylist(), table["image"].to_pylist(), strict=True))
        return images

    def remove(self) -> None:
        # File by file, as somebody may be writing another one.
        for path in self.folder.glob("*.parquet"):
            path.unlink(missing_ok=True)
        with suppress(OSError):
            self.folder.rmdir()


def _batches(
    model: DiffusionModel,
    denoiser: nn.Module,
    prompts: list[str],
    seeds: list[int],
    places: list[int],
    settings: EvaluationConfig,
    batch: int | None,
) -> Iterator[tuple[list[int], NDArray[np.uint8]]]:
    """The images at `places`, batch by batch. Out of memory halves the batch; an image alone that does not fit raises
    what the device said."""
    on_gpu = model.device.type == "cuda"
    size = batch or (1 if on_gpu else max(1, min(_MOST, _CPU_PIXELS // model.resolution**2)))
    measured = batch is not None or not on_gpu
    while places:
        taken = places[:size]
        try:
            if not measured:
                torch.cuda.reset_peak_memory_stats(model.device)
                before = torch.cuda.memory_allocated(model.device)
            pixels = model.sample(
                denoiser,
                [prompts[place] for place in taken],
                [seeds[place] for place in taken],
                steps=settings.inference_steps,
                guidance=settings.guidance,
                batch=len(taken),
            )
        except (RuntimeError, MemoryError) as error:
            if len(taken) == 1 or not is_out_of_memory(error):
                raise
        else:
            yield taken, pixels
            places = places[len(taken) :]
            if not measured:
                each = max(1, torch.cuda.max_memory_allocated(model.device) - before)
                free, _ = torch.cuda.mem_get_info(model.device)
                size, measured = max(1, min(_MOST, int(_GPU_SHARE * free / each))), True
            continue
        # Out here, because the error holds the memory of all that it interrupted.
        size = max(1, len(taken) // 2)
        if on_gpu:
            torch.cuda.empty_cache()


def _png(pixels: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()
