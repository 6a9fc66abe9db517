"""From a decoded picture to the pixels a model takes, and what was cut off on the way."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor


@dataclass(frozen=True)
class Framed:
    """`pixels` float32 (3, H, W) in [−1, 1]; `geometry` (original height and width, top and left of the crop in the
    resized picture, target height and width), as SDXL is told them."""

    pixels: Tensor
    geometry: tuple[int, int, int, int, int, int]


def frame(image: Image.Image, size: tuple[int, int]) -> Framed:
    """An RGB picture as `size` (height, width): scaled (bicubic) until it covers it, then its centre."""
    height, width = size
    original = (image.height, image.width)
    scale = max(height / image.height, width / image.width)
    if scale != 1:
        covering = (max(width, round(image.width * scale)), max(height, round(image.height * scale)))
        image = image.resize(covering, Image.Resampling.BICUBIC)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    cut = np.asarray(image.crop((left, top, left + width, top + height)), np.float32)
    return Framed(torch.from_numpy(cut / 127.5 - 1).permute(2, 0, 1), (*original, top, left, height, width))
