"""Groups of images that people put into an order, taken apart into pairs. Knows no file."""

from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

MAX_IMAGES: Final = 64  # of one group; published groups have up to ten, and pairs grow with the square

Whole = npt.NDArray[np.int64]
Real = npt.NDArray[np.float64]


def all_pairs(sizes: Whole) -> tuple[Whole, Whole]:
    """For groups that lie one after another, every two members of the same group as positions i < j in the whole,
    sorted by i, then j."""
    ends = np.repeat(np.cumsum(sizes), sizes)
    partners = ends - 1 - np.arange(len(ends))
    first = np.repeat(np.arange(len(ends)), partners)
    starts = np.cumsum(partners) - partners
    return first, first + 1 + np.arange(len(first)) - np.repeat(starts, partners)


def labels(better_0: Real, better_1: Real) -> tuple[pa.Array, pa.Array]:
    """The labels of pairs from two numbers each: 1 and 0 for the larger and the smaller, ½ and ½ for equal ones, null
    where one is missing (NaN)."""
    label_0 = np.where(better_0 > better_1, 1.0, np.where(better_0 == better_1, 0.5, 0.0))
    missing = np.isnan(better_0) | np.isnan(better_1)
    return pa.array(label_0, mask=missing), pa.array(1.0 - label_0, mask=missing)
