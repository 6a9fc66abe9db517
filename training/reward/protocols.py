"""How well scores order pairs, by each published protocol: three papers' numbers for one model cannot be compared,
because what they do with ties and what they average differ. Pure functions of arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Reals = NDArray[np.float64]
Places = NDArray[np.int64]

THRESHOLDS = tuple(np.round(np.arange(11) / 10, 1).tolist())
"""The grid of Pick-a-Pic's evaluation: 0, 0.1, …, 1."""

RESAMPLES = 2000


def probability(gap: Reals) -> Reals:
    """P(image 0 is preferred) of score gaps s₀ − s₁ that are logits: the softmax over the pair."""
    return 0.5 * (1 + np.tanh(gap / 2))  # no overflow


def pickapic(gap: Reals, label: Reals, *, threshold: float) -> Reals:
    """Credit of each pair by Pick-a-Pic (Kirstain et al. 2023, its evaluation script): a tie is predicted where
    |p₀ − p₁| ≤ threshold; 1 for the right verdict out of three, ½ where exactly one of prediction and label is a tie, 0
    for the other side. `gap` are logits, `label` 1, 0 or ½; float64 (n,), to be averaged."""
    first = probability(gap)
    apart = first - (1 - first)
    predicted = np.where(np.abs(apart) <= threshold, 0.5, np.where(apart > 0, 1.0, 0.0))
    return 1 - np.abs(predicted - label)


def tuned_threshold(gap: Reals, label: Reals) -> float:
    """The threshold of the grid with the best mean credit on validation pairs; the smallest of equals."""
    means = [float(pickapic(gap, label, threshold=threshold).mean()) for threshold in THRESHOLDS]
    return THRESHOLDS[int(np.argmax(means))]


def imagerewarddb(gap: Reals, label: Reals) -> Reals:
    """Credit of each pair by ImageRewardDB (Xu et al. 2023, its test script): 1 where the gap has the label's sign, 0
    elsewhere, equal scores included; NaN for pairs that people called a tie, which are left out."""
    right = (np.sign(gap) == np.sign(label - 0.5)).astype(np.float64)
    return np.where(label == 0.5, np.nan, right)


def hpdv2(score_0: Reals, score_1: Reals, label: Reals, *, image_0: Places, image_1: Places, prompt: Places) -> Reals:
    """Credit of each pair by HPDv2 (Wu et al. 2023, its inversion score): scores become ranks within the prompt, which
    never tie; 0 where the ranks put the pair the other way round than the label, 1 elsewhere, a tied label included.

    Equal scores are ranked by position, as a stable argsort does; the rule for tied labels is a reconstruction. Where a
    prompt's images were all ranked, the mean over its pairs is one minus the share of inversions.
    """
    images = np.concatenate([image_0, image_1])
    prompts = np.concatenate([prompt, prompt])
    order = np.lexsort((np.arange(len(images)), images, -np.concatenate([score_0, score_1]), prompts))
    rank = np.empty(len(images), np.int64)
    rank[order] = np.arange(len(images))
    # An image that is in several pairs of its prompt has one rank: its first.
    _, of = np.unique(np.stack([prompts, images]), axis=1, return_inverse=True)
    first = np.full(of.max(initial=-1) + 1, len(images), np.int64)
    np.minimum.at(first, of.ravel(), rank)
    rank_0, rank_1 = np.split(first[of.ravel()], 2)
    ahead = np.where(rank_0 < rank_1, 1.0, 0.0)
    return np.where((label != 0.5) & (ahead != label), 0.0, 1.0)


@dataclass(frozen=True)
class Accuracy:
    """A mean credit with a 95 % interval, over so many pairs of so many prompts; NaN without any."""

    value: float
    low: float
    high: float
    pairs: int
    prompts: int


def accuracy(credit: Reals, prompt: Places, *, by_prompt: bool = False, seed: int = 0) -> Accuracy:
    """The mean credit of the pairs that have one, or with `by_prompt` the mean over prompts of their means (HPDv2).

    The interval is the percentile bootstrap over prompts, because pairs of one prompt are not independent: 2000
    resamples, seeded.
    """
    known = np.isfinite(credit)
    if not known.any():
        return Accuracy(float("nan"), float("nan"), float("nan"), 0, 0)
    totals, counts = _by_prompt(credit[known], prompt[known])
    if by_prompt:
        totals, counts = totals / counts, np.ones_like(counts)
    resampled = _resampled(totals, counts, seed)
    low, high = np.quantile(resampled, [0.025, 0.975])
    return Accuracy(float(totals.sum() / counts.sum()), float(low), float(high), int(known.sum()), len(totals))


def difference(credit: Reals, other: Reals, prompt: Places, *, by_prompt: bool = False, seed: int = 0) -> Accuracy:
    """How much better one scorer's credit is than another's on the pairs that both have, with the same bootstrap over
    prompts, paired: the interval is often much narrower than those of the two."""
    both = np.isfinite(credit) & np.isfinite(other)
    return accuracy(np.where(both, credit - other, np.nan), prompt, by_prompt=by_prompt, seed=seed)


@dataclass(frozen=True)
class Calibration:
    """`ece`, the expected calibration error, and for each bin of confidence that has pairs: its lower edge, how many
    pairs, the mean confidence and the share that were right."""

    ece: float
    edges: tuple[float, ...]
    pairs: tuple[int, ...]
    confidence: tuple[float, ...]
    right: tuple[float, ...]


def calibration(gap: Reals, label: Reals, *, bins: int = 10) -> Calibration:
    """How well the probability of the preferred side is what happens: Σ (nᵦ / n) · |rightᵦ − confidenceᵦ| (Naeini et
    al. 2015) over equal bins of max(p, 1 − p) in [½, 1]; a tie counts half right. Gaps are logits."""
    first = probability(gap)
    confidence = np.maximum(first, 1 - first)
    right = np.where(first >= 0.5, label, 1 - label)
    of = np.clip(((confidence - 0.5) * 2 * bins).astype(np.int64), 0, bins - 1)
    counts = np.bincount(of, minlength=bins)
    there = np.flatnonzero(counts)
    mean_confidence = np.bincount(of, confidence, bins)[there] / counts[there]
    mean_right = np.bincount(of, right, bins)[there] / counts[there]
    ece = float((counts[there] * np.abs(mean_right - mean_confidence)).sum() / max(1, len(gap)))
    return Calibration(
        ece,
        tuple((0.5 + there / (2 * bins)).tolist()),
        tuple(counts[there].tolist()),
        tuple(mean_confidence.tolist()),
        tuple(mean_right.tolist()),
    )


def temperature(gap: Reals, label: Reals) -> float:
    """The factor a ≥ 0 for which σ(a · gap) has the least cross-entropy with the labels: what makes logits of scores
    on a scale of their own. Found by bisection of the derivative, which rises with a; at most 10⁶ / mean |gap|."""
    spread = float(np.abs(gap).mean())
    if not spread > 0:
        return 1.0
    unit = gap / spread

    def slope(factor: float) -> float:
        return float(((probability(factor * unit) - label) * unit).sum())

    low, high = 0.0, 1.0
    if slope(low) >= 0:
        return 0.0  # the scores order no better than chance
    while slope(high) < 0 and high < 1e6:
        low, high = high, high * 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return (low + high) / 2 / spread


def by_chance(label: Reals, protocol: str) -> float:
    """What the toss of a coin gets by a protocol in expectation: NaN without pairs that count."""
    ties = label == 0.5
    if protocol == "pickapic":  # a tie that is not predicted has half of the credit
        return 0.5
    if protocol == "imagerewarddb":
        return 0.5 if (~ties).any() else float("nan")
    return float(np.where(ties, 1.0, 0.5).mean())


def by_majority(validation: Reals, label: Reals) -> Reals:
    """Pick-a-Pic's credit of always giving the verdict (0, 1 or tie) that is best on the validation labels."""
    best = max((0.0, 1.0, 0.5), key=lambda verdict: float((1 - np.abs(verdict - validation)).mean()))
    return 1 - np.abs(best - label)


def _by_prompt(values: Reals, prompt: Places) -> tuple[Reals, Reals]:
    _, of = np.unique(prompt, return_inverse=True)
    return np.bincount(of, values), np.bincount(of).astype(np.float64)


def _resampled(totals: Reals, counts: Reals, seed: int) -> Reals:
    rng = np.random.default_rng(seed)
    parts = []
    at_once = max(1, 4_000_000 // len(totals))
    for start in range(0, RESAMPLES, at_once):
        picks = rng.integers(0, len(totals), (min(at_once, RESAMPLES - start), len(totals)))
        parts.append(totals[picks].sum(1) / counts[picks].sum(1))
    return np.concatenate(parts)
