"""Training pictures for Toyworld's models, and the two loops' shared bookkeeping (schedule, progress lines)."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from training.toyworld.world import GENERATORS, Pictures, Scene, render


def drawn_by_all(scenes: list[Scene], seed: int) -> tuple[list[Scene], Pictures, NDArray[np.uint8]]:
    """One picture per scene, the generators taking turns: the scenes, their parameters and uint8 pixels."""
    rng = np.random.default_rng(seed)
    ordered: list[Scene] = []
    parts: list[Pictures] = []
    for turn, generator in enumerate(GENERATORS):
        mine = scenes[turn :: len(GENERATORS)]
        ordered += mine
        parts.append(generator.draw(mine, rng))
    joined = {name: np.concatenate([getattr(p, name) for p in parts]) for name in Pictures.__dataclass_fields__}
    pictures = Pictures(**joined)
    return ordered, pictures, render(pictures)


def random_scenes(scenes: list[Scene], count: int, seed: int) -> list[Scene]:
    picks = np.random.default_rng(seed).integers(0, len(scenes), count)
    return [scenes[i] for i in picks]


def as_model_input(images: NDArray[np.uint8]) -> torch.Tensor:
    """uint8 (N, H, W, 3) to float32 (N, 3, H, W) in [-1, 1], the range of diffusers' VAEs."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1


def as_pixels(samples: torch.Tensor) -> NDArray[np.uint8]:
    """The inverse of `as_model_input`, clipped."""
    scaled = ((samples.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return scaled.permute(0, 2, 3, 1).contiguous().numpy()


def cosine_rate(step: int, *, steps: int, peak: float, warmup: int = 100) -> float:
    """Linear warm-up to `peak`, then half a cosine down to one percent of it."""
    if step < warmup:
        return peak * (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    return peak * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))


def told_steps(name: str, steps: int, every: int = 100) -> Iterator[tuple[int, Callable[[str], None]]]:
    """Counts steps and says on standard error how fast they go, with whatever the loop last told."""
    started = time.monotonic()
    last = ""

    def tell(note: str) -> None:
        nonlocal last
        last = note

    for step in range(steps):
        yield step, tell
        if (step + 1) % every == 0 or step + 1 == steps:
            rate = (step + 1) / (time.monotonic() - started)
            left = (steps - step - 1) / rate
            sys.stderr.write(f"{name}: {step + 1}/{steps} steps, {rate:.2f} steps/s, {left:.0f} s left, {last}\n")
            sys.stderr.flush()
