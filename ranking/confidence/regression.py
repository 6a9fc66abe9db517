"""Probit regression on labels of which a known share is flipped. Its own Newton steps in float64: nothing random."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

Floats = NDArray[np.float64]

_STEPS = 25
_CLOSE = 1e-6
_DECIMALS = 6
_TURNS = 12
_WORTH = 0.05


def fit(columns: Floats, sign: Floats, lapse: Floats, *, prior: Floats, start: Floats | None = None) -> Floats:
    """The coefficients w that make the labels most likely, P(label) = lapse + (1 − 2 lapse) Φ(sign · columns · w), with
    w ~ N(0, prior²) before. No intercept: which image is called 0 says nothing.

    Fisher scoring with halved steps, until no coefficient moves by more than 1e-6; rounded to six decimals, so
    that the order in which a library sums does not show. `sign` is ±1. All zeros without rows.
    """
    w = np.zeros(columns.shape[1]) if start is None else start.copy()
    if not len(columns) or not columns.shape[1]:
        return w
    ridge = 1 / prior**2
    oriented = columns * sign[:, None]
    best = _objective(oriented, lapse, w, ridge)
    for _ in range(_STEPS):
        margin = oriented @ w
        chance = lapse + (1 - 2 * lapse) * ndtr(margin)
        slope = (1 - 2 * lapse) * np.exp(-0.5 * margin * margin) / np.sqrt(2 * np.pi)
        chance = np.clip(chance, 1e-12, 1 - 1e-12)
        gradient = oriented.T @ (slope / chance) - ridge * w
        information = (oriented * (slope * slope / (chance * (1 - chance)))[:, None]).T @ oriented
        step = np.linalg.solve(information + np.diag(ridge), gradient)
        length = 1.0
        while length > 1e-3:
            tried = w + length * step
            value = _objective(oriented, lapse, tried, ridge)
            if value >= best:
                break
            length /= 2
        else:
            break
        w, best = tried, value
        if np.abs(length * step).max() < _CLOSE:
            break
    rounded: Floats = np.round(w, _DECIMALS)
    return rounded


def tune(
    columns: Floats, sign: Floats, lapse: Floats, *, prior: Floats, groups: NDArray[np.int64]
) -> tuple[Floats, Floats]:
    """Coefficients, and the prior deviations under which they were found: one for each group of columns, the most
    likely by MacKay's (1992) evidence in Laplace's approximation, with `prior` worth a small part of one
    coefficient more. A group that does not help shrinks towards nothing."""
    found, w = prior.copy(), None
    count = int(groups.max()) + 1 if len(groups) else 0
    if not len(columns) or not count:
        return np.zeros(columns.shape[1]), found
    for _ in range(_TURNS):
        w = fit(columns, sign, lapse, prior=found, start=w)
        left = np.diag(np.linalg.inv(_information(columns * sign[:, None], lapse, w) + np.diag(1 / found**2)))
        used = np.bincount(groups, 1 - left / found**2, count) + _WORTH
        size = np.bincount(groups, (w / prior) ** 2, count) + _WORTH
        new = prior * np.sqrt(np.clip(size / np.maximum(used, 1e-6), 1e-4, 9.0))[groups]
        if np.abs(np.log(new / found)).max() < 0.02:
            break
        found = new
    return fit(columns, sign, lapse, prior=found, start=w), found


def _information(oriented: Floats, lapse: Floats, w: Floats) -> Floats:
    margin = oriented @ w
    chance = np.clip(lapse + (1 - 2 * lapse) * ndtr(margin), 1e-12, 1 - 1e-12)
    slope = (1 - 2 * lapse) * np.exp(-0.5 * margin * margin) / np.sqrt(2 * np.pi)
    found: Floats = (oriented * (slope * slope / (chance * (1 - chance)))[:, None]).T @ oriented
    return found


def _objective(oriented: Floats, lapse: Floats, w: Floats, ridge: Floats) -> float:
    chance = lapse + (1 - 2 * lapse) * ndtr(oriented @ w)
    return float(np.log(np.maximum(chance, 1e-12)).sum() - 0.5 * (ridge * w * w).sum())
