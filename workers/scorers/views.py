"""Views: the ways in which scorers see a picture. Plain Pillow and numpy, so that decoder processes stay small."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from workers.scorers.base import View

_RESAMPLE = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


def crop(size: int, resample: str = "bicubic") -> View:
    """Shortest side to `size`, then the square in the middle: uint8 of shape (size, size, 3). What OpenAI's CLIP,
    open_clip, PickScore, MPS and ImageReward see, with torchvision's rounding."""
    return View("workers.scorers.views:shortest_crop", (("size", size), ("resample", resample)))


def squash(size: int, resample: str = "bicubic") -> View:
    """The whole picture as a square, its aspect given up: uint8 of shape (size, size, 3). What SigLIP sees."""
    return View("workers.scorers.views:squashed", (("size", size), ("resample", resample)))


def shortest_crop(image: Image.Image, *, size: int, resample: str) -> NDArray[np.uint8]:
    """See `crop`."""
    short, long = sorted(image.size)
    longer = int(size * long / short)
    wide = (size, longer) if image.width <= image.height else (longer, size)
    small = image.resize(wide, _RESAMPLE[resample])
    left, top = round((small.width - size) / 2.0), round((small.height - size) / 2.0)
    return np.asarray(small.crop((left, top, left + size, top + size)))


def squashed(image: Image.Image, *, size: int, resample: str) -> NDArray[np.uint8]:
    """See `squash`."""
    return np.asarray(image.resize((size, size), _RESAMPLE[resample]))
