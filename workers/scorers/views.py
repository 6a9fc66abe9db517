"""Views: the ways in which scorers see a picture. Plain Pillow and numpy, so that decoder processes need no torch."""

from __future__ import annotations

import math
import weakref

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ranking.images import MAX_PIXELS, ImageError
from ranking.schema import TOO_LARGE, UNSUPPORTED
from workers.scorers.base import View
from workers.scorers.bicubic import resampled

MOST_PIXELS = 2 * MAX_PIXELS
"""A view may blow a picture up to this many pixels and no further: 200 MB of Pillow's memory."""

MOST_ASPECT = 200
"""A picture whose sides differ by more than this factor has no place among `tiled` ones."""

RESAMPLE = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
CLIP_MEAN_COLOUR = (122, 116, 104)
"""CLIP's mean pixel times 255, cut to whole numbers as LLaVA does."""


def crop(size: int, resample: str = "bicubic") -> View:
    """Shortest side to `size`, then the square in the middle: uint8 of shape (size, size, 3). What OpenAI's CLIP,
    open_clip and ImageReward see, with torchvision's rounding."""
    return View("workers.scorers.views:shortest_crop", (("size", size), ("resample", resample)))


def hf_crop(size: int) -> View:
    """The same square as transformers' CLIPImageProcessor cuts it, which PickScore and MPS see: of an odd margin the
    smaller half is left and above, where torchvision takes the even half. That is a pixel for one margin in four."""
    options = (("size", size), ("resample", "bicubic"), ("margin", "smaller"))
    return View("workers.scorers.views:shortest_crop", options)


def float_crop(size: int) -> View:
    """The same square by HPSv2's way, which resizes after the change to float: float32 of shape (size, size, 3), 0 to 1
    with bicubic overshoot beyond both. torchvision >= 0.17's Resize of a tensor (antialias=True), to 2e-6."""
    return View("workers.scorers.views:shortest_float_crop", (("size", size),))


def squash(size: int, resample: str = "bicubic") -> View:
    """The whole picture as a square, its aspect given up: uint8 of shape (size, size, 3). What SigLIP sees."""
    return View("workers.scorers.views:squashed", (("size", size), ("resample", resample)))


def padded(size: int, colour: tuple[int, int, int] = CLIP_MEAN_COLOUR) -> View:
    """The whole picture in the middle of a square of `colour`, then bicubically to `size`: uint8 of shape
    (size, size, 3). What LLaVA and VQAScore's CLIP-FlanT5 see ("expand to square")."""
    return View("workers.scorers.views:padded_square", (("size", size), ("colour", colour)))


def tiled(tile: int, pixels: int) -> View:
    """The whole picture at about `pixels` pixels, both sides whole numbers of `tile`, bicubically: uint8 of shape
    (height, width, 3) by its aspect. What Qwen2-VL sees where its least and most pixels are the same number."""
    return View("workers.scorers.views:tiled_whole", (("tile", tile), ("pixels", pixels)))


def shortest_crop(image: Image.Image, *, size: int, resample: str, margin: str = "even") -> NDArray[np.uint8]:
    """See `crop` and `hf_crop`. ImageError (too_large) where the picture would have more than MOST_PIXELS before it is
    cropped."""
    wide, (left, top) = _shortest_to(size, image.size)
    if margin == "smaller":
        left, top = (wide[0] - size) // 2, (wide[1] - size) // 2
    small = _resized(image, wide, resample)
    return np.asarray(small.crop((left, top, left + size, top + size)))


def shortest_float_crop(image: Image.Image, *, size: int) -> NDArray[np.float32]:
    """See `float_crop`. Refuses what `shortest_crop` refuses, so that both see the same pictures."""
    (width, height), (left, top) = _shortest_to(size, image.size)
    return resampled(np.asarray(image), height=height, width=width, box=(top, left, size)) / np.float32(255)


def squashed(image: Image.Image, *, size: int, resample: str) -> NDArray[np.uint8]:
    """See `squash`. ImageError (too_large) as for the others: Pillow resizes one side after the other."""
    _check_pixels(size, max(image.size))
    return np.asarray(image.resize((size, size), RESAMPLE[resample]))


def padded_square(image: Image.Image, *, size: int, colour: tuple[int, int, int]) -> NDArray[np.uint8]:
    """See `padded`. ImageError (too_large) where the square would have more than MOST_PIXELS."""
    side = max(image.size)
    _check_pixels(side, side)
    if image.width != image.height:
        square = Image.new("RGB", (side, side), tuple(colour))
        square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
        image = square
    return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC))


def tiled_whole(image: Image.Image, *, tile: int, pixels: int) -> NDArray[np.uint8]:
    """See `tiled`. Sides are rounded to tiles, then, where that is not `pixels`, scaled to it and cut down to tiles if
    it was more, filled up if it was less (Qwen2-VL's smart_resize). ImageError (unsupported) for a side more than 200
    times the other, which Qwen2-VL refuses."""
    if max(image.size) > MOST_ASPECT * min(image.size):
        raise ImageError(f"its sides are {image.width} and {image.height}, too unlike", status=UNSUPPORTED)
    sides = [max(tile, round(side / tile) * tile) for side in image.size]
    if sides[0] * sides[1] > pixels:
        shrink = math.sqrt(image.width * image.height / pixels)
        sides = [math.floor(side / shrink / tile) * tile for side in image.size]
    elif sides[0] * sides[1] < pixels:
        grow = math.sqrt(pixels / (image.width * image.height))
        sides = [math.ceil(side * grow / tile) * tile for side in image.size]
    return np.asarray(image.resize((sides[0], sides[1]), Image.Resampling.BICUBIC))


def _resized(image: Image.Image, size: tuple[int, int], resample: str) -> Image.Image:
    """The resized picture, kept as long as the picture lives or until the next one, because two crops of a picture
    differ only in where they cut."""
    global _latest
    latest = _latest
    if latest is None or latest[0]() is not image or latest[1] != (size, resample):
        latest = (weakref.ref(image, _forget), (size, resample), image.resize(size, RESAMPLE[resample]))
        _latest = latest
    return latest[2]


def _forget(_image: weakref.ref[Image.Image]) -> None:
    global _latest
    _latest = None


_latest: tuple[weakref.ref[Image.Image], tuple[tuple[int, int], str], Image.Image] | None = None


def _shortest_to(size: int, picture: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Width and height with the shorter one at `size`, and left and top of the square in the middle."""
    short, long = sorted(picture)
    longer = int(size * long / short)
    _check_pixels(size, longer)
    width, height = (size, longer) if picture[0] <= picture[1] else (longer, size)
    return (width, height), (round((width - size) / 2.0), round((height - size) / 2.0))


def _check_pixels(width: int, height: int) -> None:
    if width * height > MOST_PIXELS:
        raise ImageError(f"a scorer would see {width} × {height} pixels of the image", status=TOO_LARGE)
