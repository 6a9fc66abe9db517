"""Scores and models of a pair as columns of numbers that change sign when the images change places. Fits nothing but
scales; sees no label."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ranking.confidence.evidence import Evidence

Floats = NDArray[np.float64]

MOST_MODELS = 24
CROSSED = 8
"""Up to so many scorers, products of two are columns too."""
_SAMPLE = 100_000
_FAR = 8.0
_PATTERNS = 64
# How large a coefficient of a column of unit size may easily be, in deviations of a rater's noise.
_LINEAR, _BENT, _CURVED, _MODEL = 1.0, 0.5, 0.15, 0.5


@dataclass(frozen=True)
class Basis:
    """How scores become columns. Scorers without two different gaps are left out; `used` has the places of the others.

    `gap_scale`, `centre` and `scale` are of those; `filled` gives, for a pattern of missing gaps (a bit each), the
    matrix by which the gaps that are there stand for those that are not. `kept` are the models with a column.
    `size` and `prior` belong to the columns: their root mean square, and the prior deviation of their coefficients.
    `owner` has the scorer (place in `used`) or −1 − model behind each column, for those of two scorers the first,
    and `partner` the other.
    """

    used: tuple[int, ...]
    gap_scale: Floats
    centre: Floats
    scale: Floats
    filled: dict[int, Floats]
    kept: tuple[int, ...]
    size: Floats
    prior: Floats
    owner: NDArray[np.int64]
    partner: NDArray[np.int64]

    @property
    def groups(self) -> NDArray[np.int64]:
        """Columns that share a prior: each scorer's gap and bent gap, all squares, all products, all models."""
        count = len(self.used)
        curved = np.where(self.partner >= 0, count + 1, count)
        place = np.arange(self.width)
        found = np.where(place < 2 * count, self.owner, np.where(self.owner < 0, count + 2, curved))
        return np.unique(found, return_inverse=True)[1]

    @property
    def width(self) -> int:
        return len(self.owner)

    def columns(self, evidence: Evidence) -> Floats:
        """(N, width), float64, each of about unit size."""
        return _raw(self, evidence) / self.size if self.width else np.zeros((len(evidence), 0))


def fit_basis(evidence: Evidence) -> Basis:
    """Scales from up to 100,000 pairs evenly spread over the table."""
    rows = _spread_rows(len(evidence), _SAMPLE)
    some = evidence.take(rows)
    used, gap_scale, centre, scale = [], [], [], []
    for place in range(len(evidence.scorers)):
        first, second = (scores[:, place].astype(np.float64) for scores in (some.scores_0, some.scores_1))
        gaps = np.abs(first - second)
        gaps = gaps[np.isfinite(gaps) & (gaps > 0)]
        if not len(gaps):
            continue
        seen = np.concatenate([first, second])
        seen = seen[np.isfinite(seen)]
        low, middle, high = np.quantile(seen, [0.16, 0.5, 0.84])
        used.append(place)
        gap_scale.append(float(np.median(gaps)) * 1.4826)
        centre.append(float(middle))
        scale.append(float((high - low) / 2) or float(np.std(seen)) or 1.0)
    kept = _frequent(np.concatenate([some.model_0, some.model_1]))
    count = len(used)
    pairs = [(a, b) for a in range(count) for b in range(a + 1, count)] if count <= CROSSED else []
    none = [-1] * count
    owner = [*range(count)] * 3 + [a for a, _ in pairs] + [-1 - model for model in kept]
    partner = none * 3 + [b for _, b in pairs] + [-1] * len(kept)
    prior = [_LINEAR] * count + [_BENT] * count + [_CURVED] * (count + len(pairs)) + [_MODEL] * len(kept)
    basis = Basis(
        used=tuple(used),
        gap_scale=np.array(gap_scale),
        centre=np.array(centre),
        scale=np.array(scale),
        filled={},
        kept=kept,
        size=np.ones(len(owner)),
        prior=np.array(prior),
        owner=np.array(owner, np.int64),
        partner=np.array(partner, np.int64),
    )
    basis.filled.update(_fill(_gaps(basis, some)))
    size = np.sqrt(np.mean(_raw(basis, some) ** 2, axis=0)) if len(some) and len(owner) else np.ones(len(owner))
    # A model's column is 0 or ±1 as it is: a rare model keeps a weak coefficient.
    size[np.array(owner, np.int64) < 0] = 1.0
    basis.size[:] = np.where(size > 0, size, 1.0)
    return basis


def _spread_rows(count: int, most: int) -> NDArray[np.int64]:
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(np.int64)) if count else np.zeros(0, np.int64)


def _frequent(codes: NDArray[np.int64]) -> tuple[int, ...]:
    found, count = np.unique(codes[codes >= 0], return_counts=True)
    order = np.lexsort((found, -count))[:MOST_MODELS]
    return tuple(sorted(int(code) for code in found[order])) if len(found) > 1 else ()


def _gaps(basis: Basis, evidence: Evidence) -> Floats:
    """Scaled gaps image 0 − image 1, NaN where a score is missing, cut at ±8."""
    used = list(basis.used)
    gaps = (evidence.scores_0[:, used].astype(np.float64) - evidence.scores_1[:, used]) / basis.gap_scale
    return np.clip(gaps, -_FAR, _FAR)


def _fill(gaps: Floats) -> dict[int, Floats]:
    """For each pattern of missing gaps among the most frequent ones, the regression of missing gaps on the others."""
    missing = ~np.isfinite(gaps)
    if not missing.any():
        return {}
    there = np.where(missing, 0.0, gaps)
    both = (~missing).astype(np.float64)
    moments = there.T @ there / np.maximum(both.T @ both, 1.0)
    pattern = _pattern(missing)
    found, count = np.unique(pattern, return_counts=True)
    filled = {}
    for code in found[np.lexsort((found, -count))][:_PATTERNS]:
        gone = (int(code) >> np.arange(gaps.shape[1])) & 1 == 1
        if gone.any() and not gone.all():
            known = moments[np.ix_(~gone, ~gone)]
            ridge = 0.05 * np.trace(known) / len(known) * np.eye(len(known))
            filled[int(code)] = np.linalg.solve(known + ridge, moments[np.ix_(~gone, gone)])
    return filled


def _pattern(missing: NDArray[np.bool_]) -> NDArray[np.int64]:
    codes: NDArray[np.int64] = missing[:, :62].astype(np.int64) @ (1 << np.arange(min(62, missing.shape[1])))
    return codes


def _raw(basis: Basis, evidence: Evidence) -> Floats:
    n, count = len(evidence), len(basis.used)
    out = np.zeros((n, basis.width))
    if count:
        gaps = _gaps(basis, evidence)
        missing = ~np.isfinite(gaps)
        gaps[missing] = 0.0
        if basis.filled and missing.any():
            pattern = _pattern(missing)
            for code, matrix in basis.filled.items():
                rows = pattern == code
                if rows.any():
                    gone = (code >> np.arange(count)) & 1 == 1
                    gaps[np.ix_(rows, gone)] = gaps[np.ix_(rows, ~gone)] @ matrix
        out[:, :count] = gaps
        out[:, count : 2 * count] = gaps / (1 + np.abs(gaps))
        used = list(basis.used)
        first, second = (
            np.clip((scores[:, used] - basis.centre) / basis.scale, -4, 4)
            for scores in (evidence.scores_0, evidence.scores_1)
        )
        curved = np.where(missing, 0.0, first * first - second * second)
        out[:, 2 * count : 3 * count] = curved
        at = 3 * count
        for a, b in zip(basis.owner[at:], basis.partner[at:], strict=True):
            if b < 0:
                break
            product = first[:, a] * first[:, b] - second[:, a] * second[:, b]
            out[:, at] = np.where(missing[:, a] | missing[:, b], 0.0, product)
            at += 1
    at = basis.width - len(basis.kept)
    for model in basis.kept:
        out[:, at] = (evidence.model_0 == model).astype(np.float64) - (evidence.model_1 == model)
        at += 1
    return out
