"""Embeddings on a grid of integers, where dot products and distances are exact: the same on every machine and with any
number of threads. Knows neither pairs nor stores."""

from collections.abc import Callable, Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

SIDE: Final = 2048
"""Grid steps in a length of 1."""
WIDEST: Final = 4096
"""The most dimensions for which sums stay exact, see `Grid`."""
FLOOR: Final = 0.01
"""The smallest distance that is told from none: the grid moves an embedding of 768 dimensions by up to 0.007."""

Grid = npt.NDArray[np.float32]
"""Shape (n, d): whole numbers in float32, rows of length SIDE but for rounding. A row is then no longer than
SIDE + √d / 2 ≤ 2080, and every partial sum in a product 2·a·b − |b|² stays below 3 · 2080² < 2^24 by Cauchy and
Schwarz, up to which float32 has every whole number: no order of adding changes it, so neither do BLAS, threads and
blocks."""

_ROWS: Final = 1024
_FOLD: Final = 64
_NARROW: Final = 16
_ITSELF: Final = float(2**24)  # larger than any product


def on_grid(matrix: npt.NDArray[np.float16]) -> Grid:
    """Embeddings (n, d) scaled to length 1 and rounded to the grid; a row of zeros stays one.

    A row moves by at most √d / (2 · SIDE), in any direction alike: squared distances grow by about d / (6 · SIDE²),
    3e-5 for 768 dimensions. ValueError beyond WIDEST dimensions.
    """
    if matrix.shape[1] > WIDEST:
        raise ValueError(f"embeddings of {matrix.shape[1]} dimensions are wider than {WIDEST}")
    grid = np.empty(matrix.shape, np.float32)
    for start in range(0, len(matrix), 16_384):
        # Squares of float16 are multiples of 2^-48 and their sum is about 1: exact in float64 in any order.
        part = matrix[start : start + 16_384].astype(np.float64)
        grid[start : start + 16_384] = _rounded(part)
    return grid


def centre(grid: Grid, counts: npt.NDArray[np.int64]) -> Grid:
    """The grid, changed in its place: its mean, each row counted `counts` times, taken away, and every row scaled to
    length 1 again."""
    parts = [slice(start, start + 16_384) for start in range(0, len(grid), 16_384)]
    total = np.zeros(grid.shape[1], np.float64)
    for part in parts:
        total += (grid[part].astype(np.float64) * counts[part, None]).sum(axis=0)  # whole numbers: exact
    mean = np.rint(total / max(1, int(counts.sum())))
    for part in parts:
        grid[part] = _rounded(grid[part].astype(np.float64) - mean)
    return grid


def _rounded(rows: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    length = np.sqrt((rows * rows).sum(axis=1, keepdims=True))
    return np.rint(rows * (SIDE / np.where(length > 0, length, 1.0)))


def squared_lengths(grid: Grid) -> npt.NDArray[np.float32]:
    """|a|² of every row, whole numbers below 2^23."""
    squares: npt.NDArray[np.float32] = (grid * grid).sum(axis=1)
    return squares


def squared_distance_to(
    points: Grid,
    references: Grid,
    *,
    k: int,
    own: npt.NDArray[np.int64],
    progress: Callable[[int, int], None] | None = None,
) -> npt.NDArray[np.int64]:
    """For each point the squared distance, in grid steps, to the k-th nearest reference.

    `own` says which reference a point itself is, −1 for none: it is no neighbour of its own. Where there are fewer
    than k others, the furthest counts; with none at all it is −1. Memory: a block of 1024 points × all references.
    """
    others = len(references) - (1 if len(own) and own.max(initial=-1) >= 0 else 0)
    found = np.full(len(points), -1, np.int64)
    if others < 1:
        return found
    # One product gives 2·p·r − |r|² = |p|² − |p − r|².
    last = np.concatenate([2 * references, -squared_lengths(references)[:, None]], axis=1).T
    for start in range(0, len(points), _ROWS):
        block = points[start : start + _ROWS]
        near = np.concatenate([block, np.ones((len(block), 1), np.float32)], axis=1) @ last
        mine = own[start : start + _ROWS]
        rows = np.flatnonzero(mine >= 0)
        near[rows, mine[rows]] = -np.inf
        kth = _kth_largest(near, min(k, others))
        found[start : start + _ROWS] = np.rint(squared_lengths(block).astype(np.float64) - kth)
        if progress is not None:
            progress(start + len(block), len(points))
    return found


def _kth_largest(values: npt.NDArray[np.float32], k: int) -> npt.NDArray[np.float32]:
    """The k-th largest value of every row."""
    rows, columns = values.shape
    groups = columns // _FOLD
    if groups < 4 * k:
        return np.partition(values, columns - k, axis=1)[:, columns - k]
    # Folded into groups, the k largest values lie in the k groups with the largest maxima (ties are as good).
    folded = values[:, : groups * _FOLD].reshape(rows, _FOLD, groups)
    best = np.argpartition(folded.max(axis=1), groups - k, axis=1)[:, groups - k :]
    chosen = np.take_along_axis(folded, best[:, None, :], axis=2).reshape(rows, -1)
    chosen = np.concatenate([chosen, values[:, groups * _FOLD :]], axis=1)
    return np.partition(chosen, chosen.shape[1] - k, axis=1)[:, chosen.shape[1] - k]


def nearest(grid: Grid, count: int) -> Iterator[tuple[int, npt.NDArray[np.int64], npt.NDArray[np.float32]]]:
    """For blocks of rows, (the first one's number, columns, products): each row's `count` largest products with rows of
    the grid, itself always among them, both of shape (rows, count), in no order. Which of equal products are taken
    follows from the numbers alone."""
    columns = len(grid)
    count = min(count, columns)
    groups = columns // _NARROW
    for start in range(0, columns, _ROWS):
        values = grid[start : start + _ROWS] @ grid.T
        rows = np.arange(len(values))
        values[rows, start + rows] = _ITSELF
        if count == columns:
            yield start, np.broadcast_to(np.arange(columns), values.shape), values
        elif groups < 4 * count:
            chosen = _largest(values, np.broadcast_to(np.arange(columns), values.shape), count)
            yield start, chosen, np.take_along_axis(values, chosen, axis=1)
        else:
            # The largest values lie in the groups with the largest maxima: a group is columns g, g + groups, …
            folded = values[:, : groups * _NARROW].reshape(len(values), _NARROW, groups)
            best = _largest(folded.max(axis=1), np.broadcast_to(np.arange(groups), (len(values), groups)), count)
            spots = (best[:, None, :] + np.arange(_NARROW)[None, :, None] * groups).reshape(len(values), -1)
            rest = np.broadcast_to(np.arange(groups * _NARROW, columns), (len(values), columns - groups * _NARROW))
            spots = np.concatenate([spots, rest], axis=1)
            chosen = _largest(np.take_along_axis(values, spots, axis=1), spots, count)
            yield start, chosen, np.take_along_axis(values, chosen, axis=1)


def _largest(values: npt.NDArray[np.float32], names: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.int64]:
    """The names of each row's `count` largest values, those with larger names among equals."""
    # One whole number for both, so that no two are equal: how a partition treats ties is its own affair.
    keys = values.astype(np.int64) * (1 << 32) + names
    keys.partition(keys.shape[1] - count, axis=1)
    return keys[:, keys.shape[1] - count :] & 0xFFFFFFFF
