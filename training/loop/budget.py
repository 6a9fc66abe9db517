"""What a run will cost, before it costs anything: pairs, steps, memory and disk, from the shapes of things alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import psutil
import torch

from training.blocks import TOYWORLD
from training.config import TrainConfig
from training.data.rows import PairRows
from training.embedding import embedding_scorer
from training.loop.activations import activations_of
from training.methods.needs import needs
from training.methods.options import Rpo
from training.models.describe import Description, meta_denoiser
from training.models.lora import adapter_weights

_MOMENTS = {"adamw": 8.0, "adamw-8bit": 2.0, "adafactor": 0.1}
"""Bytes an optimiser keeps of a trained weight: two float32; two of eight bits; a row and a column of each matrix."""
_HALF = {"fp32": 4, "bf16": 2, "fp16": 2}


@dataclass(frozen=True)
class Memory:
    """Bytes on each process's device, estimated from shapes. `frozen` is what does not train: of the denoiser, the
    reference, and VAE and text encoders where what they compute is not kept. `activations` are what one backward pass
    needs. `available` is what the device has free now."""

    weights: int
    gradients: int
    optimiser: int
    average: int
    frozen: int
    activations: int
    available: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.gradients + self.optimiser + self.average + self.frozen + self.activations


@dataclass(frozen=True)
class Disk:
    """Bytes on disk: checkpoints at their most, the model that is left in the end, and caches if nothing of them is
    there yet."""

    checkpoints: int
    model: int
    latents: int
    prompts: int
    reference: int
    features: int

    @property
    def caches(self) -> int:
        """What lies outside the store."""
        return self.latents + self.prompts + self.reference + self.features


@dataclass(frozen=True)
class Budget:
    """A run in numbers. `trained` and `parameters` count the denoiser's weights; `notes` are what one should know."""

    pairs: int
    prompts: int
    images: int
    taken_down: int
    ties: int
    effective_batch: int
    steps: int
    epochs: float
    learning_rate: float
    trained: int
    parameters: int
    resolution: int
    memory: Memory
    disk: Disk
    notes: tuple[str, ...] = field(default=())

    def plain(self) -> dict[str, Any]:
        """As JSON, with totals."""
        found = asdict(self)
        found["memory"]["total"] = self.memory.total
        found["disk"]["caches"] = self.disk.caches
        return found


def budget_of(config: TrainConfig, rows: PairRows, description: Description, *, device: str) -> Budget:
    """The budget of a run on these pairs. Builds the denoiser without weights, which takes a second or two."""
    denoiser = meta_denoiser(description.family, description.configs[description.part])
    parameters = description.parameters["denoiser"]
    trained = parameters if config.lora is None else adapter_weights(denoiser, config.lora)
    side = config.data.resolution or description.resolution
    memory = _memory(config, description, denoiser, trained=trained, side=side, device=device)
    whole = config.lora is None
    state = int(trained * (4 + _MOMENTS[config.optimiser] + (4 if config.ema is not None else 0)))
    return Budget(
        pairs=len(rows),
        prompts=rows.prompts,
        images=len(rows.images),
        taken_down=rows.taken_down,
        ties=rows.ties,
        effective_batch=config.effective_batch,
        steps=config.steps,
        epochs=config.steps * config.effective_batch / len(rows),
        learning_rate=config.peak_learning_rate,
        trained=trained,
        parameters=parameters,
        resolution=side,
        memory=memory,
        disk=Disk(
            checkpoints=state * (config.checkpoints.keep + 1),
            model=(parameters if whole else trained) * _HALF[config.save.precision],
            **_caches(config, rows, description, side=side),
        ),
        notes=tuple(_notes(config, len(rows), memory)),
    )


def _memory(
    config: TrainConfig, description: Description, denoiser: Any, *, trained: int, side: int, device: str
) -> Memory:
    wants, half = needs(config.method), _HALF[config.precision]
    parameters = description.parameters["denoiser"]
    alone = config.lora is None
    frozen = 0 if alone else parameters * half
    if alone and wants.reference and (config.cache.reference_draws is None or wants.reference_predictions):
        frozen += parameters * half
    beside = {name: count for name, count in description.parameters.items() if name != "denoiser"}
    if not (config.cache.latents and config.cache.prompts):
        frozen += 4 * sum(beside.values())
    images = config.batch * (2 if wants.losers else 1)
    return Memory(
        weights=4 * trained,
        gradients=4 * trained,
        optimiser=int(_MOMENTS[config.optimiser] * trained),
        average=4 * trained if config.ema is not None else 0,
        frozen=frozen,
        activations=activations_of(config, description, denoiser, images=images, side=side),
        available=available(device),
    )


def available(device: str) -> int:
    """Bytes free on a device now."""
    if device.startswith("cuda"):
        free: int = torch.cuda.mem_get_info(device)[0]
        return free
    return int(psutil.virtual_memory().available)


def _caches(config: TrainConfig, rows: PairRows, description: Description, *, side: int) -> dict[str, int]:
    each = {"float16": 2, "float32": 4}[config.cache.storage]
    latents = math.prod(description.latent_shape(side)) * (2 if config.data.flip else 1)
    states = sum(math.prod(shape) for shape in description.conditioning.values())
    draws = config.cache.reference_draws or 0
    return {
        "latents": len(rows.images) * latents * each if config.cache.latents else 0,
        "prompts": (rows.prompts + 1) * states * each if config.cache.prompts else 0,
        "reference": len(rows) * draws * 2 * 4,
        "features": (len(rows.images) + rows.prompts) * _feature_bytes(config),
    }


def _feature_bytes(config: TrainConfig) -> int:
    """Of what CLIP says of a picture or a prompt, float16."""
    if not isinstance(config.method, Rpo):
        return 0
    embedding = embedding_scorer(config.method.embedding, config.model).embedding
    assert embedding is not None
    return 2 * embedding.dim


def _notes(config: TrainConfig, pairs: int, memory: Memory) -> Sequence[str]:
    notes = []
    beta = getattr(config.method, "beta", None)
    if config.method.name == "dpo" and beta and config.lora is None and config.model != TOYWORLD:
        notes.append(
            f"For the learning rate the paper says 2.048e-8 · 2000/β, here {2.048e-8 * 2000 / beta:.2g}; "
            f"its code takes 1e-8 for each pair of a step, here {1e-8 * config.effective_batch:.4g}. Results were "
            "reproduced with the code's."
        )
    if config.scale_learning_rate != "none":
        notes.append(
            f"The learning rate {config.learning_rate:g} is for {config.reference_batch:,} pairs a step; with "
            f"{config.effective_batch:,} it is {config.peak_learning_rate:.4g} ({config.scale_learning_rate})."
        )
    if config.warmup >= config.steps:
        notes.append(f"The warm-up of {config.warmup} steps is not over when the run is.")
    if config.effective_batch > pairs:
        notes.append(f"A step takes {config.effective_batch:,} pairs of {pairs:,}: some come more than once in it.")
    if memory.total > memory.available:
        notes.append("By the estimate it does not fit into the device's memory.")
    return notes
