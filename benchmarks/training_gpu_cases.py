"""The trainings that `benchmarks.training_gpu` times, by name, and how one is timed."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from benchmarks.flops import data_sheet, flops_of
from benchmarks.forward import peak_flops
from benchmarks.made_models import describe_made, make_model, with_new_denoiser
from benchmarks.training_assets import write_pictures
from ranking.images import Found
from training.caches.provide import Round, load_material
from training.config import TrainConfig, parse_config
from training.data.later import Reading
from training.data.material import Material
from training.data.pairs import PairSource
from training.data.rows import PairRows
from training.loop.budget import budget_of
from training.loop.training import Training
from training.models.base import DiffusionModel
from training.models.describe import Description

PAIRS, WORKERS, RANK, BETA = 32, 4, 4, 5000
_ROUNDS, _STEPS = 3, 4
CACHES: dict[str, dict[str, Any]] = {
    "uncached": {"latents": False, "prompts": False},
    "latents": {},
    "reference": {"reference_draws": 1},
}


@dataclass(frozen=True)
class Case:
    """One training: `changes` to the config it is measured with, and what else is switched beside the config:
    `channels_last` weights of the denoiser, cuDNN's `search` for the quickest convolution."""

    name: str
    shape: str
    cache: str
    changes: dict[str, Any] = field(default_factory=dict)
    channels_last: bool = False
    search: bool = False


def cases() -> list[Case]:
    """All of them, in an order in which an early end leaves the most important ones."""
    lora: dict[str, Any] = {"lora": {"rank": RANK}}
    eight, factor = {"optimiser": "adamw-8bit"}, {"optimiser": "adafactor"}
    saving, compiled = {"gradient_checkpointing": True}, {"compile": True}

    def of(name: str, cache: str, batch: int, *changes: dict[str, Any], **more: bool) -> Case:
        together: dict[str, Any] = {"batch": batch}
        for each in changes:
            together |= each
        return Case(name, name.split("/")[0], cache, together, **more)

    return [
        *(of(f"sd15/lora/{cache}/b4", cache, 4, lora) for cache in CACHES),
        *(of(f"sd15/full/{cache}/b4", cache, 4) for cache in CACHES),
        *(of(f"sd15/lora/latents/b{batch}", "latents", batch, lora) for batch in (8, 16)),
        *(of(f"sd15/full/reference/b{batch}", "reference", batch) for batch in (8, 16)),
        of("sd15/lora/latents/b16+checkpointing", "latents", 16, lora, saving),
        of("sd15/full/reference/b16+checkpointing", "reference", 16, saving),
        of("sd15/full/reference/b4+8bit", "reference", 4, eight),
        of("sd15/full/reference/b4+adafactor", "reference", 4, factor),
        of("sd15/lora/latents/b4+channels-last", "latents", 4, lora, channels_last=True),
        of("sd15/lora/latents/b4+search", "latents", 4, lora, search=True),
        of("sd15/lora/latents/b4+compile", "latents", 4, lora, compiled),
        of("sd15/full/reference/b16+compile+channels-last", "reference", 16, compiled, channels_last=True),
        of("sdxl/lora/latents/b1", "latents", 1, lora),
        of("sdxl/lora/latents/b4+checkpointing", "latents", 4, lora, saving),
        of("sdxl/lora/reference/b4+checkpointing", "reference", 4, lora, saving),
        of("sdxl/full/latents/b1+adafactor+checkpointing", "latents", 1, factor, saving),
        of("sdxl/full/reference/b4+adafactor+checkpointing", "reference", 4, factor, saving),
        of("sdxl/full/reference/b4+8bit+checkpointing", "reference", 4, eight, saving),
        of("sdxl/lora/latents/b4+checkpointing+compile", "latents", 4, lora, saving, compiled),
    ]


@dataclass
class Bench:
    """What the trainings of one process share: a device, pictures, and one model of each shape. `folder` holds pictures
    and caches."""

    folder: Path
    device: str
    tiny: bool = False

    def __post_init__(self) -> None:
        self._models: dict[tuple[str, str], DiffusionModel] = {}

    @cached_property
    def rates(self) -> tuple[float | None, float]:
        """FLOP/s of bf16 products: by the data sheet, and of one large product here."""
        name = torch.cuda.get_device_name() if self.on_gpu else "CPU"
        peak = peak_flops(
            self.device, torch.bfloat16, side=256 if self.tiny else 8192, seconds=0.05 if self.tiny else 2.0
        )
        return data_sheet(name), peak

    @property
    def on_gpu(self) -> bool:
        """Whether this is CUDA."""
        return self.device.startswith("cuda")

    def description(self, shape: str) -> Description:
        """Of a shape."""
        return describe_made(self.folder / "configs" / shape, shape, tiny=self.tiny)

    def model(self, shape: str, precision: Any) -> DiffusionModel:
        """One of a shape with a new denoiser, always of the same weights; the rest is shared by all of them."""
        if (shape, precision) not in self._models:
            self._models.clear()
            self.clear()
            made = make_model(self.description(shape), device=self.device, precision=precision)
            made.denoiser = None
            self._models[shape, precision] = made
        return with_new_denoiser(self._models[shape, precision])

    def config(self, shape: str, cache: str, changes: dict[str, Any]) -> TrainConfig:
        """Diffusion-DPO in bf16 at the shape's own size, with these changes."""
        return parse_config(
            {
                "model": str(self.folder / "configs" / shape),
                "method": {"name": "dpo", "beta": BETA},
                "precision": "bf16",
                "steps": 1000,
                "batch": 4,
                "warmup": 0,
                "learning_rate": 1e-6,
                "device": self.device,
                "data": {"workers": 0 if self.tiny else WORKERS},
                "cache": CACHES[cache],
                "evaluation": None,
            }
            | changes
        )

    def source(self, side: int) -> PairSource:
        """Pairs of pictures of that size, read from the folder."""
        folder = self.folder / f"pairs-{side}"
        if not folder.exists():
            write_pictures(folder, pairs=4 if self.tiny else PAIRS, side=side)
        return source_of_pictures(folder)

    def material(self, model: DiffusionModel, config: TrainConfig) -> Material:
        """As the trainer loads it, caches filled, and what they make needless put aside."""
        material = load_material(self.source(model.resolution), model, config, way=Round())
        if config.cache.latents and config.cache.prompts:
            model.set_aside()
        return material

    def clear(self) -> None:
        """Let go of what nobody holds, and begin to measure memory anew."""
        gc.collect()
        if self.on_gpu:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    def wait(self) -> None:
        """Until the device is done."""
        if self.on_gpu:
            torch.cuda.synchronize()


def measure_case(bench: Bench, case: Case) -> dict[str, Any]:
    """The figures of one training: pairs a second, shares of the device's rate, memory estimated and taken, and what
    the first step took, compilation and all."""
    config = bench.config(case.shape, case.cache, case.changes)
    model = bench.model(case.shape, config.precision)
    if case.channels_last:
        model.denoiser.to(memory_format=torch.channels_last)
    with _searching(case.search):
        material = bench.material(model, config)
        torch._dynamo.reset()
        bench.clear()
        training = Training(model, material, config)
        first = _timed(bench, training.advance)
        seconds = _timed_steps(bench, training, 1 if bench.tiny else _STEPS, rounds=2 if bench.tiny else _ROUNDS)
        making = _timed(bench, lambda: material.batch(training._order.at(training.step)))
    description = bench.description(case.shape)
    flops = flops_of(config, description, side=description.resolution).of_pair(config)
    estimate = budget_of(config, material.rows, description, device=bench.device).memory
    middle = statistics.median(seconds)
    return speed(bench, config.batch / middle, flops) | {
        "step_s": round(middle, 5),
        "step_range_s": [round(min(seconds), 5), round(max(seconds), 5)],
        "first_step_s": round(first, 3),
        "batch_s": round(making, 5),
        "peak_gb": peak_gb(bench),
        "estimated_gb": round(estimate.total / 1e9, 3),
        "loss": round(training.advance().loss, 4),
    }


def speed(bench: Bench, pairs: float, flops: int) -> dict[str, Any]:
    """Pairs a second, and the shares of the device's rate that their floating-point operations are."""
    sheet, peak = bench.rates
    return {
        "pairs_per_s": round(pairs, 3),
        "tflop_per_pair": round(flops / 1e12, 4),
        "of_data_sheet": None if sheet is None else round(pairs * flops / sheet, 4),
        "of_large_product": round(pairs * flops / peak, 4),
    }


def peak_gb(bench: Bench) -> float | None:
    """The most that tensors took since `clear`; None where that is not known."""
    return round(torch.cuda.max_memory_allocated() / 1e9, 3) if bench.on_gpu else None


def _timed_steps(bench: Bench, training: Training, steps: int, *, rounds: int) -> list[float]:
    """Seconds a step, by rounds."""

    def some() -> None:
        for _ in range(steps):
            training.advance()

    training.advance()  # what is captured or chosen at the second
    return [_timed(bench, some) / steps for _ in range(rounds)]


def _timed(bench: Bench, work: Callable[[], Any]) -> float:
    bench.wait()
    started = time.perf_counter()
    work()
    bench.wait()
    return time.perf_counter() - started


@contextmanager
def _searching(wanted: bool) -> Iterator[None]:
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = wanted
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


@dataclass(frozen=True)
class FromTable:
    """Reads pictures out of a Parquet file, in whatever process."""

    path: str
    uids: tuple[str, ...]

    def __call__(self) -> dict[str, Found]:
        """By uid."""
        table = pq.read_table(self.path, columns=["image_0_uid", "image_1_uid", "jpg_0", "jpg_1"])
        found: dict[str, Found] = {}
        for side in ("0", "1"):
            found |= dict(zip(table[f"image_{side}_uid"].to_pylist(), table[f"jpg_{side}"].to_pylist(), strict=True))
        return {uid: found[uid] for uid in self.uids}


def source_of_pictures(folder: Path) -> PairSource:
    """The pairs that `write_pictures` wrote, without a store."""
    path = next(folder.glob("*.parquet"))
    table = pq.read_table(path, columns=["caption", "image_0_uid", "image_1_uid"])
    count = len(table)
    places = torch.arange(count, dtype=torch.int32).numpy()
    rows = PairRows(
        ref="pictures@1",
        pair_ids=pa.array([f"pair-{place}" for place in range(count)]),
        texts=table["caption"].combine_chunks(),
        prompt=places,
        uids=pa.concat_arrays([*table["image_0_uid"].chunks, *table["image_1_uid"].chunks]),
        winner=places,
        loser=places + count,
        preference=torch.ones(count),
        weight=torch.ones(count),
    )

    def later(uids: Sequence[str]) -> Reading:
        return FromTable(str(path), tuple(uids))

    return PairSource(rows, lambda uids: iter(later(list(uids))().items()), origin=str(path), later=later)
