"""The model of one judgement (Thurstone 1927, case V, with lapses): the rater sees the difference in quality d through
normal noise of deviation 1, and gives the opposite answer in a share of cases, the lapse rate. Closed forms only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, owens_t

Floats = NDArray[np.float64]

_NODES = np.linspace(-6.0, 6.0, 49)
_TINY = 1e-12


def answer(mean: Floats, variance: Floats | float, lapse: Floats | float) -> Floats:
    """P(the rater prefers image 0) when d ~ N(mean, variance)."""
    found: Floats = lapse + (1 - 2 * lapse) * ndtr(mean / np.sqrt(1 + variance))
    return found


def pull(mean: Floats, variance: Floats, sign: Floats, lapse: Floats) -> tuple[Floats, Floats]:
    """What a judgement (`sign` +1 for image 0, −1 for image 1) says of d ~ N(mean, variance): the first derivative of
    its log-likelihood in the mean, and minus the second. Both are 0 where sign is 0."""
    scale = np.sqrt(1 + variance)
    a = sign * mean / scale
    density = (1 - 2 * lapse) * np.exp(-0.5 * a * a) / (np.sqrt(2 * np.pi) * scale)
    chance = np.maximum(lapse + (1 - 2 * lapse) * ndtr(a), _TINY)
    first = density / chance
    second = first * first + first * a / scale
    return sign * first, np.where(sign == 0, 0.0, second)


def pull_of_votes(
    mean: Floats, variance: Floats, votes_0: Floats, votes_1: Floats, lapse: Floats
) -> tuple[Floats, Floats]:
    """The same of several judges, independent given d: so many votes for image 0 and for image 1."""
    spread = np.sqrt(variance)
    d, weight = _posterior(mean, spread, votes_0, votes_1, lapse)
    centre = (weight * d).sum(1)
    left = (weight * (d - centre[:, None]) ** 2).sum(1)
    safe = np.maximum(variance, _TINY)
    return (centre - mean) / safe, (safe - left) / (safe * safe)


def better(mean: Floats, variance: Floats) -> Floats:
    """P(d > 0) when d ~ N(mean, variance); 1/2 where both are 0."""
    found: Floats = ndtr(mean / np.sqrt(np.maximum(variance, _TINY)))
    return found


def right(mean: Floats, variance: Floats, lapse: Floats) -> Floats:
    """P(the answer is right | the answer), where d ~ N(mean, variance) is positive if it is right.

    The joint P(d > 0, d + noise > 0) is an orthant probability of a bivariate normal, which for these two is
    ½ (Φ(h) + Φ(k)) − T(k, 1/s) with s² = variance, h = mean / s, k = mean / √(1 + s²) and T of Owen (1956).
    """
    s = np.sqrt(np.maximum(variance, _TINY))
    h, k = ndtr(mean / s), mean / np.sqrt(1 + s * s)
    seen = ndtr(k)
    both = 0.5 * (h + seen) - owens_t(k, 1 / s)
    chance = lapse + (1 - 2 * lapse) * seen
    found: Floats = np.clip((lapse * h + (1 - 2 * lapse) * both) / np.maximum(chance, _TINY), 0.0, 1.0)
    return found


def right_of_votes(mean: Floats, variance: Floats, votes_for: Floats, votes_against: Floats, lapse: Floats) -> Floats:
    """The same when several judged: P(d > 0 | their votes)."""
    d, weight = _posterior(mean, np.sqrt(np.maximum(variance, 1e-6)), votes_for, votes_against, lapse)
    # Each node stands for the stretch around it, of which only a part may lie above 0.
    above = np.clip(d / (d[:, 1] - d[:, 0])[:, None] + 0.5, 0.0, 1.0)
    found: Floats = np.clip((weight * above).sum(1), 0.0, 1.0)
    return found


def _posterior(mean: Floats, spread: Floats, votes_0: Floats, votes_1: Floats, lapse: Floats) -> tuple[Floats, Floats]:
    """Nodes (N, 49) over six deviations either side, with posterior weights that sum to 1."""
    d = mean[:, None] + spread[:, None] * _NODES
    seen = ndtr(d)
    e = lapse[:, None]
    yes, no = (np.log(np.maximum(e + (1 - 2 * e) * each, _TINY)) for each in (seen, 1 - seen))
    log = votes_0[:, None] * yes + votes_1[:, None] * no - 0.5 * _NODES**2
    weight = np.exp(log - log.max(axis=1, keepdims=True))
    return d, weight / weight.sum(axis=1, keepdims=True)
