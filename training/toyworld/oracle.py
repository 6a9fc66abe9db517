"""The judge that knows the world: reads a picture's pixels and says how well it shows its prompt.

The oracle sees pixels only, so that it judges drawn pictures, JPEG copies, VAE reconstructions and samples of a
diffusion model by one rule. It is a formula, not a learned model: no training set can flatter it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from training.toyworld.world import BACKGROUNDS, COLOURS, SHAPES, Floats, parse_prompt, shape_distance

SIDE = 64
TIE_MARGIN = 0.03
WEIGHTS = {"colour": 0.30, "shape": 0.20, "background": 0.20, "sharpness": 0.10, "evenness": 0.20}
_GRID = 20


@dataclass(frozen=True)
class Verdicts:
    """Per picture, each in [0, 1], float32 of length N; `utility` is their sum weighted by `WEIGHTS`."""

    colour: Floats
    shape: Floats
    background: Floats
    sharpness: Floats
    evenness: Floats

    @property
    def utility(self) -> Floats:
        parts = [np.float32(weight) * getattr(self, name) for name, weight in WEIGHTS.items()]
        return np.asarray(np.sum(parts, axis=0), np.float32)


def judge(images: NDArray[np.uint8], prompts: list[str]) -> Verdicts:
    """Verdicts on N pictures (uint8, (N, H, W, 3)); other sizes than 64 are resized first.

    Raises ValueError for a prompt that is not of this world.
    """
    scenes = [parse_prompt(prompt) for prompt in prompts]
    if len(scenes) != len(images):
        raise ValueError(f"{len(images)} pictures but {len(scenes)} prompts")
    parts = [_judge_chunk(_at_side(images[i : i + 256]), scenes[i : i + 256]) for i in range(0, len(images), 256)]
    return Verdicts(**{name: np.concatenate([getattr(p, name) for p in parts]) for name in WEIGHTS})


def prefers(utility_0: Floats, utility_1: Floats) -> NDArray[np.float32]:
    """The true label of image 0: 1 better, 0 worse, 0.5 where they differ by less than `TIE_MARGIN`."""
    gap = np.asarray(utility_0) - np.asarray(utility_1)
    return np.where(np.abs(gap) < TIE_MARGIN, 0.5, (gap > 0).astype(np.float32)).astype(np.float32)


def _at_side(images: NDArray[np.uint8]) -> Floats:
    if images.shape[1:3] != (SIDE, SIDE):
        resized = [Image.fromarray(i).resize((SIDE, SIDE), Image.Resampling.BICUBIC) for i in images]
        images = np.stack([np.asarray(i) for i in resized])
    return images.astype(np.float32) / 255


def _judge_chunk(images: Floats, scenes: list) -> Verdicts:
    n = len(images)
    flat = images.reshape(n, -1, 3)
    frame = np.ones((SIDE, SIDE), bool)
    frame[4:-4, 4:-4] = False
    back = np.median(flat[:, frame.ravel()], axis=1)
    away = np.linalg.norm(flat - back[:, None], axis=2)
    farthest = np.argsort(away, axis=1)[:, -SIDE * SIDE // 16 :]
    front = np.median(np.take_along_axis(flat, farthest[..., None], axis=1), axis=1)
    direction = front - back
    contrast = np.maximum((direction**2).sum(1), 1e-4)
    mask = np.clip(((flat - back[:, None]) @ direction[..., None])[..., 0] / contrast[:, None], 0, 1)
    residual = flat - (back[:, None] + mask[..., None] * direction[:, None])

    def nearness(seen: Floats, table: dict[str, tuple[int, int, int]], wanted: list[str]) -> Floats:
        target = np.array([table[name] for name in wanted], np.float32) / 255
        return np.exp(-((np.linalg.norm(seen - target, axis=1) / 0.28) ** 2)).astype(np.float32)

    masks = mask.reshape(n, SIDE, SIDE)
    # Brightness moves along the colour axis too, so unevenness is read where the mask should be flat.
    spread_back = _spread(away, mask < 0.12)
    roughness = np.sqrt(spread_back**2 + residual.var(axis=(1, 2)))
    return Verdicts(
        colour=nearness(front, COLOURS, [s.colour for s in scenes]),
        shape=_shape_match(masks, [SHAPES.index(s.shape) for s in scenes]),
        background=nearness(back, BACKGROUNDS, [s.background for s in scenes]),
        sharpness=_sharpness(masks, np.sqrt(contrast)),
        evenness=np.exp(-roughness / 0.08).astype(np.float32),
    )


def _spread(values: Floats, where: NDArray[np.bool_]) -> Floats:
    count = np.maximum(where.sum(1), 1)
    return np.sqrt((np.where(where, values, 0) ** 2).sum(1) / count).astype(np.float32)


def _sharpness(masks: Floats, contrast: Floats) -> Floats:
    """How steep the outline is, full marks from 0.18 a pixel on: sharper than that is more than eight-pixel latents
    carry, and no reason to prefer a picture. A shape that hardly stands out has no outline."""
    gy, gx = np.gradient(masks, axis=(1, 2))
    steep = np.sort(np.hypot(gx, gy).reshape(len(masks), -1), axis=1)[:, -96:].mean(1)
    return (np.clip((steep - 0.03) / 0.15, 0, 1) * np.clip(contrast / 0.25, 0, 1)).astype(np.float32)


def _shape_match(masks: Floats, wanted: list[int]) -> Floats:
    """Probability that the mask shows the wanted shape: best template correlation per shape, soft-maxed."""
    codes, bank = _templates()
    correlation = _standardised(_normalised(_smoothed(masks))) @ bank.T
    best = np.stack([correlation[:, codes == code].max(1) for code in range(len(SHAPES))], axis=1)
    weight = np.exp(20 * (best - best.max(1, keepdims=True)))
    share = weight[np.arange(len(masks)), wanted] / weight.sum(1)
    return (share * np.clip((best.max(1) - 0.5) / 0.4, 0, 1)).astype(np.float32)


def _smoothed(masks: Floats) -> Floats:
    """Means of 3×3 neighbourhoods, so that single pixels do not decide which shape it is."""
    side = masks.shape[1]
    padded = np.pad(masks, ((0, 0), (1, 1), (1, 1)), mode="edge")
    windows = [padded[:, i : i + side, j : j + side] for i in range(3) for j in range(3)]
    return np.mean(windows, axis=0, dtype=np.float32)


def _normalised(masks: Floats) -> Floats:
    """Masks (N, H, W) resampled to a grid centred on their centroid and scaled by their spread: (N, 400)."""
    side = masks.shape[1]
    axis = (np.arange(side, dtype=np.float32) + 0.5) / side
    weight = np.where(masks > 0.3, masks, 0)
    total = weight.sum((1, 2)) + 1e-6
    cx = (weight.sum(1) * axis).sum(1) / total
    cy = (weight.sum(2) * axis).sum(1) / total
    spread = (weight.sum(1) * (axis - cx[:, None]) ** 2).sum(1) + (weight.sum(2) * (axis - cy[:, None]) ** 2).sum(1)
    scale = np.sqrt(spread / total) + 1e-3
    reach = np.linspace(-2.0, 2.0, _GRID, dtype=np.float32)
    px = np.clip((cx[:, None] + scale[:, None] * reach) * side - 0.5, 0, side - 1.001)
    py = np.clip((cy[:, None] + scale[:, None] * reach) * side - 0.5, 0, side - 1.001)
    x0, y0 = px.astype(int), py.astype(int)
    fx, fy = (px - x0)[:, None, :], (py - y0)[:, :, None]
    row = np.arange(len(masks))[:, None, None]
    yy, xx = y0[:, :, None], x0[:, None, :]
    top = masks[row, yy, xx] * (1 - fx) + masks[row, yy, xx + 1] * fx
    low = masks[row, yy + 1, xx] * (1 - fx) + masks[row, yy + 1, xx + 1] * fx
    return (top * (1 - fy) + low * fy).reshape(len(masks), -1)


def _standardised(rows: Floats) -> Floats:
    centred = rows - rows.mean(1, keepdims=True)
    return centred / (np.linalg.norm(centred, axis=1, keepdims=True) + 1e-6)


@lru_cache(maxsize=1)
def _templates() -> tuple[NDArray[np.int64], Floats]:
    axis = (np.arange(SIDE, dtype=np.float32) + 0.5) / SIDE - 0.5
    codes, masks = [], []
    for code, name in enumerate(SHAPES):
        for angle in np.linspace(-0.25, 0.25, 7):
            for width in (0.006, 0.03, 0.06):
                u = (np.cos(angle) * axis[None, :] + np.sin(angle) * axis[:, None]) / 0.27
                v = (-np.sin(angle) * axis[None, :] + np.cos(angle) * axis[:, None]) / 0.27
                distance = shape_distance(name, u.astype(np.float32), v.astype(np.float32)) * 0.27
                masks.append(1 / (1 + np.exp(np.clip(distance / width, -30, 30))))
                codes.append(code)
    bank = _standardised(_normalised(np.stack(masks).astype(np.float32)))
    return np.array(codes), bank
