"""How long a run will take, estimated before it begins: floating-point operations counted on models without weights,
and the time that a part of the denoiser, with any weights, takes on the run's device for its share of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only
from torch.utils.flop_counter import FlopCounterMode

from training.config import TrainConfig
from training.data.rows import PairRows
from training.methods.needs import needs
from training.models.describe import Description, meta_denoiser
from training.models.weightless import decoding_operations, denoised, encoding_operations
from training.precision import autocast, keep_in_half
from training.watch.samples import images_drawn

_WHOLE = 100e6  # weights; a denoiser of fewer is timed as a whole, as its small products are what takes the time
_CPU_WORK = 4e9  # FLOP that are timed on a CPU, if one image does not take more
_MOST, _LONG_ENOUGH, _TOO_LONG = 20, 0.2, 1.0  # calls, and seconds of them together


@dataclass(frozen=True)
class Hours:
    """Estimated seconds. `caches`: filling them, if nothing is there yet; `step`: one optimiser step; `training`: all
    of them, with the samples drawn meanwhile; `evaluation`: drawing its images, of the base too, without judging."""

    caches: float
    step: float
    training: float
    evaluation: float

    @property
    def total(self) -> float:
        """From the start to the last drawn image."""
        return self.caches + self.training + self.evaluation


@dataclass(frozen=True)
class _Counts:
    """Floating-point operations of one image or prompt."""

    denoise: int
    encode: int
    decode: int
    text: int


@dataclass(frozen=True)
class _Speed:
    """Seconds for each operation of a forward pass: of that pass alone, and of one that is followed by a backward pass,
    whose own operations are not counted."""

    forward: float
    trained: float


def hours_of(
    config: TrainConfig, rows: PairRows, description: Description, *, device: str, drawn: int, side: int
) -> Hours | None:
    """The hours of a run on these pairs at `side` pixels, whose evaluation draws `drawn` images of each of two models.
    Each of several processes is taken to have a device of its own. Takes a second on a GPU, for a large model several
    on a CPU; None where the device has no memory for it now."""
    images = config.batch * (2 if needs(config.method).losers else 1)
    denoiser = meta_denoiser(description.family, description.configs[description.part])
    part, given, counted, share = _observed(description, denoiser, side)
    counts = _counts(description, counted, side)
    try:
        speed = _speed(part, given, share, config, images=images, device=torch.device(device))
    except torch.OutOfMemoryError:
        return None
    step = _step(config, counts, speed, images=images)
    return Hours(
        caches=_caches(config, rows, counts) * speed.forward / config.processes,
        step=step,
        training=config.steps * step + _samples(config, counts) * speed.forward,
        evaluation=_evaluation(config, counts, drawn) * speed.forward,
    )


def _step(config: TrainConfig, counts: _Counts, speed: _Speed, *, images: int) -> float:
    wants = needs(config.method)
    again = [
        config.gradient_checkpointing,
        wants.reference and (config.cache.reference_draws is None or wants.reference_predictions),
        wants.whole_step and config.accumulate > 1,  # gradient caching
    ]
    of_an_image = counts.denoise * (speed.trained + sum(again) * speed.forward)
    if not config.cache.latents:
        of_an_image += counts.encode * speed.forward
    of_texts = 0.0 if config.cache.prompts else config.batch * counts.text * speed.forward
    return config.accumulate * (images * of_an_image + of_texts)


def _caches(config: TrainConfig, rows: PairRows, counts: _Counts) -> int:
    latents = len(rows.images) * (2 if config.data.flip else 1) if config.cache.latents else 0
    prompts = rows.prompts + 1 if config.cache.prompts else 0
    references = 2 * len(rows) * (config.cache.reference_draws or 0)
    return latents * counts.encode + prompts * counts.text + references * counts.denoise


def _samples(config: TrainConfig, counts: _Counts) -> int:
    wanted = config.watch.samples
    if wanted is None:
        return 0
    return images_drawn(wanted, steps=config.steps) * _drawing(counts, wanted.inference_steps, wanted.guidance)


def _evaluation(config: TrainConfig, counts: _Counts, drawn: int) -> int:
    wanted = config.evaluation
    return 2 * drawn * _drawing(counts, wanted.inference_steps, wanted.guidance) if wanted is not None else 0


def _drawing(counts: _Counts, steps: int, guidance: float) -> int:
    """Operations of an image; classifier-free guidance runs the denoiser without the prompt as well."""
    return steps * (2 if guidance > 1 else 1) * counts.denoise + counts.decode


def _counts(description: Description, denoise: int, side: int) -> _Counts:
    # Encoders of text are matrix products: two operations for each weight and token.
    text = 2 * description.parameters["text"] * description.conditioning["states"][0]
    encode, decode = encoding_operations(description, side=side), decoding_operations(description, side=side)
    return _Counts(denoise, encode, decode, text)


def _observed(description: Description, denoiser: Any, side: int) -> tuple[nn.Module, Any, int, int]:
    """The part of a denoiser that is timed, what it is given for one image, and the operations of the whole and of the
    part."""
    part = _part(denoiser)
    name = next(name for name, each in denoiser.named_modules() if each is part)
    given: list[Any] = []
    hook = part.register_forward_pre_hook(lambda _, args, kwargs: given.append((args, kwargs)), with_kwargs=True)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        denoised(description, denoiser, side=side)
    hook.remove()
    where = ".".join(each for each in (type(denoiser).__name__, name) if each)
    return part, given[0], counter.get_total_flops(), sum(counter.get_flop_counts()[where].values())


def _part(denoiser: Any) -> nn.Module:
    """All of a small denoiser; of a large one its first block with attention, which is like the others."""
    if sum(each.numel() for each in denoiser.parameters()) < _WHOLE:
        whole: nn.Module = denoiser
        return whole
    blocks = getattr(denoiser, "down_blocks", None) or denoiser.transformer_blocks
    part: nn.Module = next(block for block in blocks if any("Attention" in type(m).__name__ for m in block.modules()))
    return part


def _speed(
    part: nn.Module, given: Any, share: int, config: TrainConfig, *, images: int, device: torch.device
) -> _Speed:
    frozen = config.lora is not None
    part.to_empty(device=device)
    with torch.no_grad():
        for weight in part.parameters():
            weight.normal_(std=0.02)
    part.requires_grad_(not frozen)
    keep_in_half(part, config.precision)
    timed = images if device.type == "cuda" else max(1, min(images, int(_CPU_WORK / share)))

    def filled(meta: Tensor) -> Tensor:
        made = torch.zeros((timed, *meta.shape[1:]), dtype=meta.dtype, device=device)
        return made.normal_().requires_grad_(frozen) if meta.is_floating_point() and meta.dim() > 1 else made

    args, kwargs = tree_map_only(Tensor, filled, given)

    def forward() -> Tensor:
        with autocast(config.precision, device):
            out = part(*args, **kwargs)
        while not isinstance(out, Tensor):
            out = out[0]
        return out

    def backward() -> None:
        forward().float().square().mean().backward()

    with torch.no_grad():
        alone = _seconds(forward, device)
    return _Speed(alone / (timed * share), _seconds(backward, device) / (timed * share))


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    """Of the quickest call of a few: the first one chooses kernels, and others may compute beside it."""
    found: list[float] = []
    while len(found) < _MOST and (len(found) < 2 or sum(found) < _LONG_ENOUGH) and sum(found) < _TOO_LONG:
        started = time.monotonic()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        found.append(time.monotonic() - started)
    return min(found)
