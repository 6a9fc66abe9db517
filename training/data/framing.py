"""How a picture is cut to the size that a pass has, and what SDXL is told about it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

CENTRE = (0.5, 0.5)


@dataclass(frozen=True)
class Framing:
    """A picture of `size` (height, width) in pixels: scaled (bicubic) until it covers that, cut at `crop`, then
    mirrored if `flipped`. `crop` is the share of what hangs over that is cut off at the top and at the left, each in
    [0, 1]: shares and not pixels, so that a pair of two sizes is cut at the same place."""

    size: tuple[int, int]
    crop: tuple[float, float] = CENTRE
    flipped: bool = False


@dataclass(frozen=True)
class Framed:
    """`pixels` float32 (3, H, W) in [−1, 1]; `geometry` (original height and width, top and left of the crop in the
    resized picture, target height and width), as SDXL is told them."""

    pixels: Tensor
    geometry: tuple[int, int, int, int, int, int]


def frame(image: Image.Image, framing: Framing) -> Framed:
    """An RGB picture, framed. Of a mirrored picture the geometry speaks of the mirrored one: what was cut off at its
    left side is what was at the right before."""
    height, width = framing.size
    covering = covers((image.height, image.width), framing.size)
    geometry = told((image.height, image.width), framing)
    if covering != (image.height, image.width):
        image = image.resize((covering[1], covering[0]), Image.Resampling.BICUBIC)
    top, left = _cut_at(covering, framing)
    cut = np.asarray(image.crop((left, top, left + width, top + height)), np.float32)
    if framing.flipped:
        cut = cut[:, ::-1]
    return Framed(torch.from_numpy(np.ascontiguousarray(cut) / 127.5 - 1).permute(2, 0, 1), geometry)


def told(original: tuple[int, int], framing: Framing) -> tuple[int, int, int, int, int, int]:
    """The geometry of a picture of this (height, width), so framed."""
    covering = covers(original, framing.size)
    top, left = _cut_at(covering, framing)
    if framing.flipped:
        left = covering[1] - framing.size[1] - left
    return (*original, top, left, *framing.size)


def covers(original: tuple[int, int], size: tuple[int, int]) -> tuple[int, int]:
    """The smallest (height, width) in a picture's proportions that covers `size`."""
    scale = max(size[0] / original[0], size[1] / original[1])
    return max(size[0], round(original[0] * scale)), max(size[1], round(original[1] * scale))


def _cut_at(covering: tuple[int, int], framing: Framing) -> tuple[int, int]:
    over = (covering[0] - framing.size[0], covering[1] - framing.size[1])
    return int(over[0] * framing.crop[0]), int(over[1] * framing.crop[1])
