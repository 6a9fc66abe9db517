"""What the other labels of a prompt say of a pair's two images: two rounds of messages between judgements that share an
image. A pair's own label never enters what it is told, to the bit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ranking.confidence.evidence import Codes, Evidence
from ranking.confidence.thurstone import pull, pull_of_votes

Floats = NDArray[np.float64]
_VOTES = 25.0


@dataclass(frozen=True)
class Graph:
    """Which pairs share an image. `told` marks pairs with a winner and two different images. `again` are the rows of
    images that were compared more than once; `group` numbers those comparisons, `swapped` says which of them have
    their images the other way round."""

    first: Codes
    second: Codes
    items: int
    sign: Floats
    votes_0: Floats
    votes_1: Floats
    several: NDArray[np.int64]
    again: NDArray[np.int64]
    group: Codes
    swapped: NDArray[np.bool_]

    @property
    def told(self) -> NDArray[np.bool_]:
        found: NDArray[np.bool_] = self.sign != 0
        return found


def graph_of(evidence: Evidence) -> Graph:
    """The graph of the pairs, whose items are numbered anew."""
    both = np.concatenate([evidence.first, evidence.second])
    _, codes = np.unique(both, return_inverse=True)
    first, second = codes[: len(evidence)], codes[len(evidence) :]
    items = int(codes.max()) + 1 if len(codes) else 0
    low, high = np.minimum(first, second), np.maximum(first, second)
    _, group, count = np.unique(low * items + high, return_inverse=True, return_counts=True)
    again = np.flatnonzero(count[group] > 1)
    votes_0, votes_1 = (np.nan_to_num(votes.astype(np.float64)) for votes in (evidence.votes_0, evidence.votes_1))
    sign = np.where(first == second, 0.0, evidence.sign)
    total = votes_0 + votes_1
    # Weighted votes of a crowd are not that many independent looks.
    shrink = np.minimum(1.0, _VOTES / np.maximum(total, 1.0))
    several = np.flatnonzero((total > 0) & (sign != 0))
    return Graph(
        first=first,
        second=second,
        items=items,
        sign=sign,
        votes_0=votes_0 * shrink,
        votes_1=votes_1 * shrink,
        several=several,
        again=again,
        group=np.unique(group[again], return_inverse=True)[1],
        swapped=(first > second)[again],
    )


@dataclass(frozen=True)
class Told:
    """What everything but a pair's own label says of d, the quality of image 0 − that of image 1: normal, N each."""

    mean: Floats
    variance: Floats


def listen(graph: Graph, *, offset: Floats, spread: float, lapse: Floats) -> Told:
    """d of every pair from all but its own label.

    `offset` is what scorers and models say of d, `spread` the standard deviation of an image's quality around that,
    `lapse` the lapse rate of whoever judged. Judgements up to two images away count: with more, a label could come
    back to its own pair round a triangle.
    """
    prior = spread * spread
    if prior == 0 or not graph.told.any():
        return Told(offset, np.full(len(offset), 2 * prior))
    still = np.full(len(offset), prior)
    sent = (
        _message(graph, offset, prior, still, lapse),
        _message(graph, offset, prior, still, lapse, backwards=True),
    )
    (mean_0, left_0), (mean_1, left_1) = _heard(graph, sent, prior)
    sent = (
        _message(graph, offset - mean_1, prior, left_1, lapse),
        _message(graph, offset + mean_0, prior, left_0, lapse, backwards=True),
    )
    (mean_0, left_0), (mean_1, left_1) = _heard(graph, sent, prior)
    told = Told(offset + mean_0 - mean_1, left_0 + left_1)
    return _same_images(graph, told, lapse) if len(graph.again) else told


def _pull(graph: Graph, mean: Floats, variance: Floats, lapse: Floats) -> tuple[Floats, Floats]:
    first, second = pull(mean, variance, graph.sign, lapse)
    if len(graph.several):
        rows = graph.several
        first[rows], second[rows] = pull_of_votes(
            mean[rows], variance[rows], graph.votes_0[rows], graph.votes_1[rows], lapse[rows]
        )
    return first, second


def _message(
    graph: Graph, mean: Floats, prior: float, other: Floats, lapse: Floats, *, backwards: bool = False
) -> tuple[Floats, Floats]:
    """What each judgement says of its first image (`backwards`: its second), as precision · mean and precision.
    `mean` is that of d with this image as its scorers have it, `other` the variance of the other image."""
    first, second = _pull(graph, mean, prior + other, lapse)
    second = np.clip(second, 0.0, 0.999 / prior)
    shrink = 1 / (1 - prior * second)
    return (-first if backwards else first) * shrink, second * shrink


def _heard(
    graph: Graph, sent: tuple[tuple[Floats, Floats], tuple[Floats, Floats]], prior: float
) -> tuple[tuple[Floats, Floats], tuple[Floats, Floats]]:
    """Mean and variance of each pair's two images, from the messages of all pairs that compare other images."""
    found = []
    totals = [
        np.bincount(graph.first, to_first, graph.items) + np.bincount(graph.second, to_second, graph.items)
        for to_first, to_second in zip(*sent, strict=True)
    ]
    for side, items in ((0, graph.first), (1, graph.second)):
        pulls, precision = (
            total[items] - _own(graph, (sent[0][each], sent[1][each]), side) for each, total in enumerate(totals)
        )
        variance = 1 / (1 / prior + np.maximum(precision, 0.0))
        found.append((pulls * variance, variance))
    return found[0], found[1]


def _own(graph: Graph, sent: tuple[Floats, Floats], side: int) -> Floats:
    """What a pair, and others of the same two images, told the image on that side."""
    own = sent[side].copy()
    if len(graph.again):
        rows, other = graph.again, sent[1 - side][graph.again]
        mine, high_side = own[rows], graph.swapped ^ (side == 1)
        low, high = np.where(high_side, other, mine), np.where(high_side, mine, other)
        groups = int(graph.group.max()) + 1
        lows, highs = (np.bincount(graph.group, each, groups)[graph.group] for each in (low, high))
        own[rows] = np.where(high_side, highs, lows)
    return own


def _same_images(graph: Graph, told: Told, lapse: Floats) -> Told:
    """Judgements of the very same images speak of d itself."""
    rows = graph.again
    mean, variance = told.mean.copy(), told.variance.copy()
    first, second = (each[rows] for each in _pull(graph, mean, variance, lapse))
    before = variance[rows]
    second = np.clip(second, 0.0, 0.999 / np.maximum(before, 1e-12))
    shrink = 1 / (1 - before * second)
    turn = np.where(graph.swapped, -1.0, 1.0)
    pulls, precisions = first * shrink * turn, second * shrink
    groups = int(graph.group.max()) + 1
    others = np.bincount(graph.group, pulls, groups)[graph.group] - pulls
    known = np.bincount(graph.group, precisions, groups)[graph.group] - precisions
    after = 1 / (1 / np.maximum(before, 1e-12) + np.maximum(known, 0.0))
    mean[rows] = mean[rows] + after * others * turn
    variance[rows] = after
    return Told(mean, variance)
