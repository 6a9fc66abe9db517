"""Bicubic resampling of floats with antialiasing, the numbers of `torch.nn.functional.interpolate(mode="bicubic",
antialias=True)`, for decoder processes without torch. Computes only the box that is asked for."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
_AT_ONCE = 32


def resampled(image: NDArray[np.uint8], *, height: int, width: int, box: tuple[int, int, int]) -> Floats:
    """A square box of an (h, w, 3) picture resized to `height` × `width`: float32 of shape (side, side, 3) in the
    picture's units, not clamped. `box` is its top, left and side in the resized picture."""
    top, left, side = box
    columns, across = _weights(image.shape[1], width, left, side)
    seen = image[:, columns.min() : columns.max() + across.shape[1]]
    tall = _along_rows(seen, *_weights(image.shape[0], height, top, side))
    turned = np.ascontiguousarray(tall.transpose(1, 0, 2))
    return np.ascontiguousarray(_along_rows(turned, columns - columns.min(), across).transpose(1, 0, 2))


def _weights(length: int, resized: int, first: int, count: int) -> tuple[NDArray[np.int64], Floats]:
    """For `count` places from `first` on along a side of `length` that becomes `resized`: where the pixels begin that
    each place sees, and their weights (count, most); weights are zero past the pixels that it sees.

    torch computes these in float32, which moves a pixel by up to 1e-4 of its value; so do we.
    """
    scale = np.float32(length) / np.float32(resized)
    shrink = max(scale, np.float32(1))
    support = np.float32(2) * shrink
    centre = (scale.astype(np.float64) * (first + np.arange(count) + 0.5)).astype(np.float32)
    begin = np.maximum((centre - support + 0.5).astype(np.int64), 0)
    end = np.minimum((centre + support + 0.5).astype(np.int64), length)
    place = begin[:, None] + np.arange(int((end - begin).max()))
    distance = ((place.astype(np.float32) - centre[:, None] + np.float32(0.5)) * (1 / shrink)).astype(np.float32)
    weight = np.where(place < end[:, None], _cubic(distance), np.float32(0))
    return begin, weight / weight.sum(1, keepdims=True)


def _cubic(distance: Floats) -> Floats:
    """Keys' cubic convolution kernel (1981) with a = -1/2, as Pillow and torch's antialiased resize have it."""
    x = np.abs(distance)
    near = (np.float32(1.5) * x - np.float32(2.5)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * np.float32(-0.5)
    return np.where(x < 1, near, np.where(x < 2, far, np.float32(0)))


def _along_rows(image: NDArray[np.uint8] | Floats, begin: NDArray[np.int64], weight: Floats) -> Floats:
    """Weighted sums of rows, (count, w, 3). Neighbouring places see nearly the same rows, so a few of them at once are
    a small dense matrix product."""
    _, width, channels = image.shape
    out = np.empty((len(begin), width * channels), np.float32)
    for start in range(0, len(begin), _AT_ONCE):
        begins, weights = begin[start : start + _AT_ONCE], weight[start : start + _AT_ONCE]
        low = begins.min()
        rows = image[low : begins.max() + weights.shape[1]].reshape(-1, width * channels).astype(np.float32)
        band = np.zeros((len(begins), len(rows) + weights.shape[1]), np.float32)
        np.put_along_axis(band, begins[:, None] - low + np.arange(weights.shape[1]), weights, axis=1)
        out[start : start + _AT_ONCE] = band[:, : len(rows)] @ rows
    return out.reshape(len(begin), width, channels)
