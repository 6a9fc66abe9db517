"""P(label right) of every pair: each fold judged in the world that has not seen its labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ranking.confidence.basis import Basis, fit_basis
from ranking.confidence.evidence import FOLDS, Evidence
from ranking.confidence.lapses import rates, record
from ranking.confidence.messages import Graph, Told
from ranking.confidence.thurstone import answer, better, right, right_of_votes
from ranking.confidence.worlds import Fitted, World, fit_worlds, told_of

Floats = NDArray[np.float64]
DECIMALS = 6
_DOUBT = 0.001
"""No model of this kind is righter than that: a normal tail says one in a billion where one in a thousand is true."""


@dataclass(frozen=True)
class Judged:
    """Of N pairs, each without its own label unless said otherwise.

    `confidence`: the probability that the label is right given all and the label (NaN for ties). `preference`: the
    probability that image 0 is better; `alone`: the same by scorers and models alone. `support`: how many other labels
    speak of either image. `answer`: the probability that this rater names image 0. `lapse`: the rater's lapse rate.
    `mean` and `variance` of d; `margin`, what scorers and models alone say of d. `basis`, `fitted`: the models behind.
    """

    confidence: Floats
    preference: Floats
    alone: Floats
    support: NDArray[np.int64]
    answer: Floats
    lapse: Floats
    mean: Floats
    variance: Floats
    margin: Floats
    basis: Basis
    fitted: Fitted


def judge(evidence: Evidence) -> Judged:
    """Judge every pair. Probabilities lie between 0.001 and 0.999 and are rounded to six decimals.

    Deterministic, with any number of threads. Between kinds of processors sums may differ in the last bit, which
    rounding hides, but for a value that happens to lie within 1e-12 or so of the middle between two.
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1, user_api="blas"):
        return _judged(evidence)


def _judged(evidence: Evidence) -> Judged:
    basis = fit_basis(evidence)
    fitted = fit_worlds(evidence, basis)
    n = len(evidence)
    mean, variance, lapse, margin = np.zeros(n), np.ones(n), np.zeros(n), np.zeros(n)
    alone, support = np.full(n, 0.5), np.zeros(n, np.int64)
    confidence, answered = np.full(n, np.nan), np.full(n, np.nan)
    for k in range(FOLDS):
        rows = np.flatnonzero(evidence.fold == k)
        if not len(rows):
            continue
        world, own = fitted.worlds[k], fitted.margin[rows, k]
        part = evidence.take(rows)
        known_rater = _rater(part)
        others = rates(world.records, world.shares)[known_rater]
        graph, told = told_of(part, own, world, others)
        mine = _own_rates(part, own, world, graph, told)
        mean[rows], variance[rows], lapse[rows] = told.mean, told.variance, mine
        margin[rows] = own * world.scale
        alone[rows] = better(margin[rows], np.full(len(rows), 2 * world.spread**2))
        support[rows] = _support(graph)
        sign = part.sign
        sure = right(sign * told.mean, told.variance, mine)
        if len(graph.several):
            some = graph.several
            votes = [graph.votes_0[some], graph.votes_1[some]]
            ours = np.where(sign[some] > 0, *votes), np.where(sign[some] > 0, *votes[::-1])
            sure[some] = right_of_votes(sign[some] * told.mean[some], told.variance[some], *ours, mine[some])
        confidence[rows] = np.where(sign == 0, np.nan, sure)
        answered[rows] = answer(told.mean, told.variance, mine)
    return Judged(
        confidence=_rounded(confidence),
        preference=_rounded(better(mean, variance)),
        alone=_rounded(alone),
        support=support,
        answer=answered,
        lapse=np.round(lapse, DECIMALS),
        mean=mean,
        variance=variance,
        margin=margin,
        basis=basis,
        fitted=fitted,
    )


def _rounded(probability: Floats) -> Floats:
    found: Floats = np.round(_DOUBT + (1 - 2 * _DOUBT) * probability, DECIMALS)
    return found


def _support(graph: Graph) -> NDArray[np.int64]:
    """Judgements of either image besides this one; those of both count once."""
    told = graph.told.astype(np.int64)
    count = np.bincount(graph.first, told, graph.items) + np.bincount(graph.second, told, graph.items)
    same = np.zeros(len(told))
    rows = graph.again
    if len(rows):
        same[rows] = np.bincount(graph.group, told[rows])[graph.group] - told[rows]
    found: NDArray[np.int64] = (count[graph.first] + count[graph.second] - 2 * told - same).astype(np.int64)
    return found


def _rater(evidence: Evidence) -> NDArray[np.int64]:
    """Codes in which all unknown raters are one, the last."""
    return np.where(evidence.rater < 0, len(evidence.raters), evidence.rater)


def _own_rates(evidence: Evidence, margin: Floats, world: World, graph: Graph, told: Told) -> Floats:
    """Each pair's rater's lapse rate from all other judgements of the rater: those of other folds, those of this fold
    under other prompts with all that is known of them, and those under the same prompt by scorers alone."""
    rater, raters = _rater(evidence), len(evidence.raters) + 1
    rows = np.flatnonzero(graph.told)
    sign = graph.sign[rows]
    with_graph = answer(sign * told.mean[rows], told.variance[rows], 0.0)
    alone = answer(sign * margin[rows], 0.0, 0.0)
    _, both = np.unique(rater * (int(evidence.cluster.max()) + 1) + evidence.cluster, return_inverse=True)
    groups = int(both.max()) + 1
    own = np.full(len(evidence), -1)
    own[rows] = np.arange(len(rows))
    total = world.records + record(with_graph, rater[rows], raters)
    near = record(alone, both[rows], groups) - record(with_graph, both[rows], groups)
    each = total[rater] + near[both]
    each[rows] -= record(alone, np.arange(len(rows)), len(rows))
    return rates(each, world.shares)
