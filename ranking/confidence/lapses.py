"""How often each rater gives the opposite answer: empirical Bayes over a grid of rates, whose shares among raters are
estimated with them (Kiefer and Wolfowitz 1956)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

RATES = np.array([0.001, 0.02, 0.05, 0.08, 0.12, 0.16, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.75, 0.9])
"""Lapse rates that a rater may have. 1/2 is answering at random, above it a rater who means the other button."""
_WEIGHT = 1.0
_ROUNDS = 200
_SURE = 2.0


def _before() -> Floats:
    shares = np.exp(-RATES / 0.12)
    found: Floats = shares / shares.sum()
    return found


def record(right: Floats, of: NDArray[np.int64], count: int) -> Floats:
    """log P(the labels of each group | each rate), (count, rates), summed over pairs.

    `right` is the probability that a rater without lapses would have given the label of the pair; `of` says whose
    it is, and pairs of −1 count nowhere.
    """
    rows = of >= 0
    found = np.zeros((count, len(RATES)))
    right, of = right[rows], of[rows]
    for place, rate in enumerate(RATES):
        found[:, place] = np.bincount(of, np.log(rate + (1 - 2 * rate) * right), count)
    return found


def shares(records: Floats) -> Floats:
    """How many raters have each rate: the shares that make all records most likely, with a weak lean to small rates."""
    busy = records[(records != 0).any(axis=1)]
    found = _before()
    if not len(busy):
        return found
    likely = np.exp(busy - busy.max(axis=1, keepdims=True))
    for _ in range(_ROUNDS):
        part = likely * found
        part /= part.sum(axis=1, keepdims=True)
        new = (part.sum(axis=0) + _WEIGHT * _before()) / (len(busy) + _WEIGHT)
        if np.abs(new - found).max() < 1e-7:
            break
        found = new
    apart = float(np.log(likely @ found).sum() + busy.max(axis=1).sum())
    alike = busy.sum(axis=0) + np.log(_before())
    together = float(alike.max() + np.log(np.exp(alike - alike.max()).sum()))
    # Raters differ where that explains the labels better by more than chance does. Else one rate is everyone's.
    if apart - together < np.log(len(busy)) + _SURE:
        common: Floats = np.exp(alike - alike.max())
        found = common / common.sum()
    return np.round(found, 9)


def rates(records: Floats, shares: Floats) -> Floats:
    """The mean rate of each row's rater given its record; that of all raters where the record is empty."""
    part = np.exp(records - records.max(axis=1, keepdims=True)) * shares
    found: Floats = np.round((part * RATES).sum(axis=1) / part.sum(axis=1), 9)
    return found
