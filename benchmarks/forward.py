"""What the towers of scorers take alone, on tensors that lie ready: the yardstick for scoring end to end."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

from benchmarks.suite import clip_config
from workers.scorers.base import ScorerSpec
from workers.scorers.blip import BlipShape, look, read, text_tower, vision_tower
from workers.scorers.layouts import built

_WORDS = 20  # word pieces of a prompt, in the ImageReward's text tower


class Bare:
    """One tower with parameters of noise, and a batch of ready inputs on the device in the tower's own type."""

    def __init__(self, spec: ScorerSpec, device: str, batch: int) -> None:
        self._device, self._batch = device, batch
        self._dtype = getattr(torch, spec.precision)
        make = self._blip if "vision_width" in dict(spec.options) else self._clip
        self._image, self._text = make(spec)

    def seconds(self, images: int, prompts: int) -> float:
        """What it takes to pass so many of each."""
        with torch.inference_mode():
            _wait(self._device)
            started = time.perf_counter()
            for count, tower in ((images, self._image), (prompts, self._text)):
                for done in range(0, count, self._batch):
                    tower(min(self._batch, count - done))
            _wait(self._device)
            return time.perf_counter() - started

    def _clip(self, spec: ScorerSpec) -> tuple[Callable[[int], Any], Callable[[int], Any]]:
        config = clip_config(spec)
        model = self._filled(built(config))
        model.attn_mask = torch.full_like(model.attn_mask, float("-inf"), device=self._device).triu_(1)
        size, context = config["vision_cfg"]["image_size"], config["text_cfg"]["context_length"]
        pixels = torch.randn(self._batch, 3, size, size, device=self._device, dtype=self._dtype)
        ids = torch.randint(1, 40_000, (self._batch, context), device=self._device)
        ids[:, -1] = config["text_cfg"]["vocab_size"] - 1
        return lambda n: model.encode_image(pixels[:n]), lambda n: model.encode_text(ids[:n])

    def _blip(self, spec: ScorerSpec) -> tuple[Callable[[int], Any], Callable[[int], Any]]:
        shape = BlipShape.of(spec)
        vision, text = self._filled(vision_tower(shape)), self._filled(text_tower(shape, looks=True))
        text.embeddings.position_ids = torch.arange(shape.positions, device=self._device)[None]
        pixels = torch.randn(self._batch, 3, shape.image_size, shape.image_size, device=self._device, dtype=self._dtype)
        ids = torch.randint(1, 30_000, (self._batch, _WORDS), device=self._device)
        lengths = torch.full((self._batch,), _WORDS, device=self._device)

        def both(n: int) -> Any:
            # Each item is read before its own image; so the text tower goes with the images, not with the prompts.
            return read(text, ids[:n], lengths[:n], look(vision, pixels[:n]))

        return both, lambda _: None

    def _filled(self, model: Any) -> Any:
        model = model.to(self._dtype).to_empty(device=self._device).eval().requires_grad_(False)
        for value in (*model.parameters(), *model.buffers()):
            if value.is_floating_point():
                value.normal_(0, 0.02)
        return model


def towers_of(specs: Sequence[ScorerSpec]) -> list[ScorerSpec]:
    """One spec for each distinct tower: scorers that read one file of a tower share it."""
    seen: dict[str, ScorerSpec] = {}
    for spec in specs:
        seen.setdefault(spec.assets[0].name, spec)
    return list(seen.values())


def peak_flops(device: str, dtype: torch.dtype, *, side: int = 8192, seconds: float = 2.0) -> float:
    """Floating-point operations a second in one large matrix product, the best of several."""
    left, right = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end or best == float("inf"):
        _wait(device)
        started = time.perf_counter()
        left @ right
        _wait(device)
        best = min(best, time.perf_counter() - started)
    return 2 * side**3 / best


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()
