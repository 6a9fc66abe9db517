"""Cross-fitting: for every fold a world that has not seen its labels, and in it the coefficients, the raters' records
and how far images may differ from their scores."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ranking.confidence.basis import Basis
from ranking.confidence.evidence import FOLDS, Evidence
from ranking.confidence.lapses import rates, record, shares
from ranking.confidence.messages import Graph, Told, graph_of, listen
from ranking.confidence.regression import fit, tune
from ranking.confidence.thurstone import answer

Floats = NDArray[np.float64]

_FIT_ROWS = 8_000
_TUNE_ROWS = 10_000
_CHUNK = 65_536
_START_LAPSE = 0.1
SPREADS = np.array([0.2, 0.4, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0])
STRETCHES = np.array([0.75, 1.0, 1.3])
_USUAL_SPREAD = 0.8
_DECIMALS = 6
_SCALES = (0.7, 0.8, 0.9, 1.0, 1.15, 1.3, 1.5, 1.75, 2.0, 2.5, 3.0, 4.0)
_LEVELS = (0.001, 0.02, 0.05, 0.08, 0.11, 0.14, 0.17, 0.2, 0.23, 0.26, 0.3, 0.35, 0.4)
_MORE = (0.0, 0.06)


@dataclass(frozen=True)
class World:
    """What was fitted without one fold. `weights` (the coefficients of the basis), `shares` of the lapse rates,
    `spread`: deviation of an image's quality around what its scores say, `stretch`: factor on what they say,
    `records`: the log likelihood of each lapse rate by rater, the last row being judgements of unknown raters."""

    weights: Floats
    shares: Floats
    spread: float
    stretch: float
    records: Floats

    @property
    def scale(self) -> float:
        """From coefficients, which are of a label's probit margin, to differences in quality."""
        return float(self.stretch * np.sqrt(1 + 2 * self.spread**2))


@dataclass(frozen=True)
class Fitted:
    """A world per fold, and `margin` (N, folds): a label's probit margin in each world, of every pair by coefficients
    that have seen neither its own fold nor the world's."""

    worlds: tuple[World, ...]
    margin: Floats


def fit_worlds(evidence: Evidence, basis: Basis) -> Fitted:
    """Fit a world for each fold. Deterministic; sums have a fixed order but for those inside BLAS."""
    sign, fold = evidence.sign, evidence.fold
    raters = len(evidence.raters) + 1
    rater = np.where(evidence.rater < 0, raters - 1, evidence.rater)
    told = (sign != 0) & (evidence.first != evidence.second)
    sample = np.concatenate([_spread(np.flatnonzero(told & (fold == k)), _FIT_ROWS) for k in range(FOLDS)])
    columns, of = basis.columns(evidence.take(sample)), fold[sample]
    margin = np.zeros((len(evidence), FOLDS))
    weights = np.zeros((FOLDS, FOLDS, basis.width))
    # lapse[k]: the rates of this world's raters, one for each judgement.
    lapse = [np.full(len(sample), _START_LAPSE)] * FOLDS
    for turn in range(2):
        for k in range(FOLDS):
            prior = basis.prior
            for j in [k] + [j for j in range(FOLDS) if j != k]:
                rows = (of != k) & (of != j)
                if j == k:
                    weights[k, j], prior = tune(
                        columns[rows], sign[sample[rows]], lapse[k][rows], prior=basis.prior, groups=basis.groups
                    )
                    continue
                weights[k, j] = fit(columns[rows], sign[sample[rows]], lapse[k][rows], prior=prior, start=weights[k, k])
        margin = _margins(evidence, basis, weights)
        if turn == 0:
            for k in range(FOLDS):
                seen = np.flatnonzero(told & (fold != k))
                few = _spread(seen, _TUNE_ROWS)
                scale = _scale(sign[few] * margin[few, k])
                right = answer(sign[seen] * margin[seen, k] * scale, 0.0, 0.0)
                kept = record(right, rater[seen], raters)
                lapse[k] = rates(kept, shares(kept))[rater[sample]]
    worlds = tuple(_world(evidence, weights[k, k], margin[:, k], k, rater=rater, raters=raters) for k in range(FOLDS))
    return Fitted(worlds, margin)


def _scale(oriented: Floats) -> float:
    """By how much margins fitted with too small a lapse rate are too small: the factor of the best factor and rate."""
    likely = [
        [float(np.log(answer(oriented * scale, 0.0, lapse)).sum()) - 0.5 * np.log(scale) ** 2 for lapse in _LEVELS]
        for scale in _SCALES
    ]
    return round(float(np.exp(_mean(np.array(likely), np.log(_SCALES)[:, None]))), _DECIMALS)


def _mean(log_likelihood: Floats, values: Floats) -> float:
    """The mean of values, each as likely as said."""
    weight = np.exp(log_likelihood - log_likelihood.max())
    return float((weight * values).sum() / weight.sum())


def _world(
    evidence: Evidence, weights: Floats, margin: Floats, k: int, *, rater: NDArray[np.int64], raters: int
) -> World:
    seen = np.flatnonzero(evidence.fold != k)
    part, sign, own = evidence.take(seen), evidence.sign[seen], margin[seen]
    told = sign != 0
    stretch = _scale((sign * own)[_spread(np.flatnonzero(told), _TUNE_ROWS)])
    kept = record(answer(sign * own * stretch, 0.0, 0.0)[told], rater[seen][told], raters)
    found = shares(kept)
    lapse = rates(kept, found)[rater[seen]]
    few = _some_clusters(part, _TUNE_ROWS)
    small, graph = own[few], graph_of(part.take(few))

    def score(spread: float, stretch: float, more: float) -> float:
        scale = stretch * np.sqrt(1 + 2 * spread * spread)
        careless = lapse[few] * (1 - more) + (1 - lapse[few]) * more
        known = listen(graph, offset=small * scale, spread=spread, lapse=careless)
        chance = answer(graph.sign * known.mean, known.variance, careless)
        lean = -0.5 * np.log(spread / _USUAL_SPREAD) ** 2 - 0.5 * np.log(stretch) ** 2
        return float(np.log(np.maximum(chance[graph.told], 1e-12)).sum() + lean)

    likely = np.array([[[score(s, stretch * t, m) for m in _MORE] for t in STRETCHES] for s in SPREADS])
    # Rounded, as coefficients are: a last bit that differs between processors goes no further.
    spread = round(float(np.exp(_mean(likely, np.log(SPREADS)[:, None, None]))), _DECIMALS)
    stretch = round(stretch * float(np.exp(_mean(likely, np.log(STRETCHES)[None, :, None]))), _DECIMALS)
    world = World(weights, found, spread, stretch, kept)
    whole = graph_of(part)
    known = listen(whole, offset=own * world.scale, spread=world.spread, lapse=lapse)
    right = answer(whole.sign * known.mean, known.variance, 0.0)
    kept = record(right[whole.told], rater[seen][whole.told], raters)
    return World(weights, shares(kept), world.spread, world.stretch, kept)


def _margins(evidence: Evidence, basis: Basis, weights: Floats) -> Floats:
    out = np.zeros((len(evidence), FOLDS))
    for start in range(0, len(evidence), _CHUNK):
        rows = slice(start, start + _CHUNK)
        columns, fold = basis.columns(evidence.take(np.arange(*rows.indices(len(evidence))))), evidence.fold[rows]
        for j in range(FOLDS):
            mine = fold == j
            out[start : start + len(fold)][mine] = columns[mine] @ weights[:, j].T
    return out


def _spread(rows: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    return rows if len(rows) <= most else rows[np.linspace(0, len(rows) - 1, most).astype(np.int64)]


def _some_clusters(evidence: Evidence, most: int) -> NDArray[np.int64]:
    """Rows of as many whole prompt clusters as make about `most`."""
    share = max(1, -(-len(evidence) // most))
    return np.flatnonzero((evidence.cluster * 2654435761 >> 9) % share == 0)


def told_of(evidence: Evidence, margin: Floats, world: World, lapse: Floats) -> tuple[Graph, Told]:
    """The label graph of some pairs and what it says of each in a world."""
    graph = graph_of(evidence)
    return graph, listen(graph, offset=margin * world.scale, spread=world.spread, lapse=lapse)
