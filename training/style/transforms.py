"""Styles that a picture can be given by a stated, repeatable transform: pure functions of its pixels, no model.

They stand in for the image editor of Diffusion-RPO's style data (arXiv 2406.06382), which that paper does not name in
the text we could read. The styles' names are its own; the transforms are ours."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ranking.errors import UnknownNameError

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]
_GREY = np.array([0.299, 0.587, 0.114], np.float32)  # Rec. 601 luma
_STROKE_SIDE = 192


@dataclass(frozen=True)
class Style:
    """A named transform. Raise `version` when it gives other pixels than before. `text` is what a CLIP is asked of
    it."""

    name: str
    version: int
    text: str
    meaning: str
    _paint: Callable[[Floats, np.random.Generator], Floats]

    @property
    def id(self) -> str:
        """`name@version`, as records cite it."""
        return f"{self.name}@{self.version}"

    def __call__(self, pixels: Pixels) -> Pixels:
        """The picture, uint8 (H, W, 3), in this style: same shape, same for the same pixels everywhere. What is drawn
        at random follows from the picture itself."""
        digest = hashlib.sha256(self.id.encode() + np.ascontiguousarray(pixels).tobytes()).digest()
        rng = np.random.default_rng(int.from_bytes(digest[:8], "big"))
        painted = self._paint(pixels.astype(np.float32) / 255, rng)
        return np.rint(np.clip(painted, 0, 1) * 255).astype(np.uint8)


def style(name: str) -> Style:
    """The style of this name; UnknownNameError where there is none."""
    if name not in STYLES:
        raise UnknownNameError.among("style", name, list(STYLES))
    return STYLES[name]


def _sketch(image: Floats, rng: np.random.Generator) -> Floats:
    """Dark lines where any colour changes (gradient over all channels, Di Zenzo 1986), light shading where the picture
    is dark, and the grain of the paper."""
    grey = image @ _GREY
    side = min(grey.shape)
    soft = ndimage.gaussian_filter(image, (side / 90, side / 90, 0))
    steep = np.sqrt(sum(np.square(np.gradient(soft, axis=axis)).sum(2) for axis in (0, 1))) * side / 64
    lines = np.clip(steep / 0.12, 0, 1)
    shading = 0.80 + 0.20 * ndimage.gaussian_filter(grey, side / 64)
    grain = 0.02 * ndimage.gaussian_filter(rng.standard_normal(grey.shape).astype(np.float32), 0.7)
    drawn = shading * (1 - 0.85 * lines) + grain
    return np.repeat(drawn[..., None], 3, axis=2).astype(np.float32)


def _winter(image: Floats, rng: np.random.Generator) -> Floats:
    """Colours halfway to grey, lighter and bluer; snow that lies at the bottom; and fourteen falling flakes, whose size
    goes with the picture's."""
    height, width, _ = image.shape
    grey = (image @ _GREY)[..., None]
    cold = 0.5 * image + 0.5 * grey
    cold = 0.30 * np.array([0.82, 0.92, 1.0], np.float32) + 0.70 * cold * np.array([0.90, 0.98, 1.10], np.float32)
    lying = np.clip((np.linspace(0, 1, height, dtype=np.float32) - 0.78) / 0.22, 0, 1)[:, None, None]
    snowy = cold + 0.85 * lying * (np.array([0.97, 0.98, 1.0], np.float32) - cold)
    flakes = np.zeros((height, width), np.float32)
    unit = min(height, width) / 64
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    for _ in range(14):
        y, x = rng.uniform(0, height), rng.uniform(0, width)
        reach = rng.uniform(0.9, 1.9) * unit
        away = np.hypot(rows - y, columns - x)
        flakes = np.maximum(flakes, np.clip(1.5 - away / reach, 0, 1))
    return snowy + flakes[..., None] * (1 - snowy)


def _van_gogh(image: Floats, rng: np.random.Generator) -> Floats:
    """Brush strokes along the flow of the edges laid over flattened, stronger colours as light and dark, and the
    yellows and blues of the late pictures."""
    side = min(image.shape[:2])
    flat = np.stack([ndimage.median_filter(image[..., c], size=min(7, max(3, side // 20))) for c in range(3)], axis=2)
    mean = (flat @ _GREY)[..., None]
    strong = mean + 1.35 * (flat - mean)
    light = np.clip(mean, 0, 1)
    toned = 0.8 * strong + 0.2 * (light * np.array([0.95, 0.80, 0.25]) + (1 - light) * np.array([0.10, 0.20, 0.50]))
    return (toned + 0.09 * _strokes(flat @ _GREY, rng)[..., None]).astype(np.float32)


def _strokes(grey: Floats, rng: np.random.Generator) -> Floats:
    """Noise smeared along the weak eigenvector of the structure tensor (line integral convolution, Cabral & Leedom
    1993), of deviation 1 and the picture's size; made at 192 pixels a side, as strokes are no finer than that."""
    zoom = min(1.0, _STROKE_SIDE / min(grey.shape))
    small = ndimage.zoom(grey, zoom, order=1) if zoom < 1 else grey
    (height, width), side = small.shape, min(small.shape)
    gy, gx = np.gradient(ndimage.gaussian_filter(small, side / 40))
    xx, yy, xy = (ndimage.gaussian_filter(each, side / 12) for each in (gx * gx, gy * gy, gx * gy))
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    # Where nothing has an edge, strokes swirl about the middle.
    swirl = 2 * (np.arctan2(rows - height / 2, columns - width / 2) + np.pi / 2)
    angle = 0.5 * np.arctan2(2 * xy - 1e-5 * np.sin(swirl), xx - yy - 1e-5 * np.cos(swirl)) + np.pi / 2
    flow = np.stack([np.sin(angle), np.cos(angle)])
    noise = ndimage.gaussian_filter(rng.standard_normal((height, width)).astype(np.float32), side / 80)
    strokes = np.zeros_like(noise)
    for sign in (-1, 1):
        place, before = np.stack([rows, columns]), sign * flow
        for _ in range(max(3, side // 12)):
            y = np.clip(np.rint(place[0]), 0, height - 1).astype(np.int64)
            x = np.clip(np.rint(place[1]), 0, width - 1).astype(np.int64)
            strokes += noise[y, x]
            # An orientation has no sign: the one that goes on the way it came.
            step = flow[:, y, x]
            step = np.where((step * before).sum(0) < 0, -step, step)
            place, before = place + step, step
    strokes /= strokes.std() + 1e-6
    if zoom == 1:
        return strokes
    exact = [full / part for full, part in zip(grey.shape, strokes.shape, strict=True)]
    return np.asarray(ndimage.zoom(strokes, exact, order=1), np.float32)


STYLES = {
    found.name: found
    for found in (
        Style("sketch", 1, "a pencil sketch", "dark lines at the edges on white paper, no colour", _sketch),
        Style("winter", 1, "a snowy winter scene", "pale blue colours, snow on the ground and in the air", _winter),
        Style(
            "van-gogh",
            1,
            "an oil painting by Vincent van Gogh",
            "strong colours in strokes that follow the edges",
            _van_gogh,
        ),
    )
}
"""Every style by name."""
