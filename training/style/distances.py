"""How far two sets of pictures lie apart, as sets of feature vectors, with intervals over prompts. Knows no picture and
no network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from ranking.errors import UsageError
from training.intervals import Estimate, Floats

RESAMPLES = 2000
GROUPS = 40
"""Into how many groups of prompts the jackknife of a Fréchet distance is cut at most."""


@dataclass(frozen=True)
class Cloud:
    """N feature vectors, float64 (N, d), each of a picture of prompt `group[i]` in [0, P). Two clouds that are compared
    number the same prompts alike."""

    vectors: Floats
    group: NDArray[np.int64]

    @classmethod
    def of(cls, vectors: NDArray[Any], prompts: Sequence[str], order: dict[str, int]) -> Cloud:
        """Of pictures of these prompts, numbered as in `order`."""
        return cls(np.asarray(vectors, np.float64), np.array([order[prompt] for prompt in prompts], np.int64))

    def without(self, groups: NDArray[np.int64]) -> Cloud:
        """The pictures of other prompts than these."""
        kept = ~np.isin(self.group, groups)
        return Cloud(self.vectors[kept], self.group[kept])


def numbered(*prompts: Sequence[str]) -> dict[str, int]:
    """A number for each distinct prompt of several lists."""
    return {prompt: place for place, prompt in enumerate(dict.fromkeys(each for part in prompts for each in part))}


def frechet(first: Floats, second: Floats) -> float:
    """The squared Fréchet distance of the normal distributions that have the sample means and covariances (divisor
    n − 1) of two sets (n, d) and (m, d): ‖μ₁ − μ₂‖² + tr Σ₁ + tr Σ₂ − 2 tr (Σ₁Σ₂)^½ (Dowson & Landau 1982; FID, Heusel
    et al. 2017, arXiv 1706.08500, eq. 6).

    With Σ = AᵀA for the centred rows A over √(n − 1), tr (Σ₁Σ₂)^½ is the sum of the singular values of A₁A₂ᵀ, so no
    root of a matrix is taken and d may be greater than n. Biased upwards, the more the fewer pictures there are: two
    such numbers compare only at equal n. ValueError for a set of fewer than two.
    """
    if min(len(first), len(second)) < 2:
        raise ValueError("a Fréchet distance needs two pictures on either side")
    means = first.mean(0) - second.mean(0)
    roots = [_root(each) for each in (first, second)]
    cross = np.linalg.svd(roots[0] @ roots[1].T, compute_uv=False).sum()
    return float(max(0.0, means @ means + sum((root**2).sum() for root in roots) - 2 * cross))


def frechet_estimate(first: Cloud, second: Cloud) -> Estimate:
    """The Fréchet distance with the 95 % interval of a delete-a-group jackknife over prompts (at most 40 groups,
    Student's t). The interval is of this statistic at this number of pictures; its bias is not in it."""
    value = frechet(first.vectors, second.vectors)
    return _jackknifed(value, lambda a, b: frechet(a.vectors, b.vectors), (first, second))


def frechet_change(base: Cloud, run: Cloud, reference: Cloud) -> Estimate:
    """How much less the run's distance to the reference is than the base's (negative is nearer), paired by prompts."""

    def change(a: Cloud, b: Cloud, of: Cloud) -> float:
        return frechet(b.vectors, of.vectors) - frechet(a.vectors, of.vectors)

    return _jackknifed(change(base, run, reference), change, (base, run, reference))


Kernel = Callable[[Floats, Floats], Floats]


def polynomial(first: Floats, second: Floats) -> Floats:
    """(x·y / d + 1)³, the kernel of KID (Bińkowski et al. 2018, arXiv 1801.01401, section 4)."""
    return np.asarray((first @ second.T / first.shape[1] + 1) ** 3)


def gaussian(first: Floats, second: Floats) -> Floats:
    """exp(−‖x − y‖² / 2σ²) with σ = 10, times 1000: CMMD's (Jayasumana et al. 2024, arXiv 2401.09603), there on unit
    CLIP embeddings and with each picture's kernel with itself, which biases it upwards."""
    squares = (first**2).sum(1)[:, None] + (second**2).sum(1) - 2 * first @ second.T
    return np.asarray(1000 * np.exp(-np.maximum(squares, 0) / 200))


def linear(first: Floats, second: Floats) -> Floats:
    """x·y: the MMD is then the squared distance of the means."""
    return np.asarray(first @ second.T)


@dataclass(frozen=True)
class Discrepancy:
    """The squared maximum mean discrepancy of two clouds under a kernel (Gretton et al. 2012, eq. 3), as sums of the
    kernel over pairs of prompts, (P, P) each: within the first, within the second, and across.

    Only pictures of different prompts are paired. Pictures of one prompt are no independent draws, in one set or across
    two that share their prompts; without them the value is unbiased, so it is near zero, and may be below it, where the
    distributions agree. With one picture a prompt and prompts of their own it is the usual estimate.
    """

    sums: tuple[Floats, Floats, Floats]
    counts: tuple[Floats, Floats]

    @classmethod
    def of(cls, first: Cloud, second: Cloud, kernel: Kernel) -> Discrepancy:
        """UsageError where there are fewer than two prompts."""
        prompts = 1 + int(max(first.group.max(), second.group.max()))
        if prompts < 2:
            raise UsageError("a discrepancy needs pictures of two prompts", hint="draw more prompts")
        picks = [_membership(each, prompts) for each in (first, second)]
        pairs = ((first, first, 0, 0), (second, second, 1, 1), (first, second, 0, 1))
        sums = tuple(picks[i].T @ kernel(a.vectors, b.vectors) @ picks[j] for a, b, i, j in pairs)
        return cls(sums, (picks[0].sum(0), picks[1].sum(0)))  # type: ignore[arg-type]

    def value(self, weight: Floats | None = None) -> Floats:
        """The estimate, or those of B resamples in which prompt p is there `weight[b, p]` times, (B,). A prompt is
        never paired with its own copies: they are no second draw."""
        ways = np.ones((1, len(self.counts[0]))) if weight is None else weight

        def mean(sums: Floats, one: Floats, other: Floats) -> Floats:
            whole = ((ways @ sums) * ways).sum(1) - (ways**2) @ np.diag(sums)
            pairs = (ways @ one) * (ways @ other) - (ways**2) @ (one * other)
            with np.errstate(invalid="ignore", divide="ignore"):
                return np.where(pairs > 0, whole / pairs, np.nan)

        (xx, yy, xy), (x, y) = self.sums, self.counts
        return mean(xx, x, x) + mean(yy, y, y) - 2 * mean(xy, x, y)


def discrepancy(first: Cloud, second: Cloud, kernel: Kernel) -> Estimate:
    """The squared MMD with its 95 % percentile bootstrap over prompts."""
    found = Discrepancy.of(first, second, kernel)
    return Estimate.of(float(found.value()[0]), found.value(_weights(len(found.counts[0]))))


def discrepancy_change(base: Cloud, run: Cloud, reference: Cloud, kernel: Kernel) -> Estimate:
    """How much less the run's discrepancy to the reference is than the base's (negative is nearer), paired by prompts:
    the same resamples for both."""
    before, after = (Discrepancy.of(each, reference, kernel) for each in (base, run))
    weights = _weights(len(before.counts[0]))
    drawn = after.value(weights) - before.value(weights)
    return Estimate.of(float(after.value()[0] - before.value()[0]), drawn)


def mean_estimate(values: Floats, group: NDArray[np.int64]) -> Estimate:
    """The mean of N values with its 95 % percentile bootstrap over prompts."""
    prompts = 1 + int(group.max())
    weights = _weights(prompts)
    totals, counts = np.bincount(group, values, prompts), np.bincount(group, minlength=prompts)
    return Estimate.of(float(values.mean()), (weights @ totals) / (weights @ counts))


def _weights(prompts: int, *, seed: int = 0) -> Floats:
    """How often each prompt is in each of 2000 resamples, (2000, P)."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(prompts, np.full(prompts, 1 / prompts), size=RESAMPLES).astype(np.float64)


def _jackknifed(value: float, statistic: Callable[..., float], clouds: tuple[Cloud, ...]) -> Estimate:
    prompts = np.unique(np.concatenate([each.group for each in clouds]))
    # Neighbours in the list are not in one group, as a list may be sorted by what prompts are about.
    groups = [prompts[start::GROUPS] for start in range(min(GROUPS, len(prompts)))]
    if len(groups) < 3:
        return Estimate(value, float("nan"), float("nan"))
    left_out = np.array([statistic(*(each.without(group) for each in clouds)) for group in groups])
    count = len(groups)
    error = float(np.sqrt((count - 1) / count * ((left_out - left_out.mean()) ** 2).sum()))
    reach = float(student.ppf(0.975, count - 1)) * error
    return Estimate(value, value - reach, value + reach)


def _root(vectors: Floats) -> Floats:
    """A with AᵀA the covariance, of as few rows as n and d allow."""
    centred = (vectors - vectors.mean(0)) / np.sqrt(len(vectors) - 1)
    if len(vectors) <= vectors.shape[1]:
        return np.asarray(centred)
    values, basis = np.linalg.eigh(centred.T @ centred)
    return np.asarray(np.sqrt(np.maximum(values, 0))[:, None] * basis.T)


def _membership(cloud: Cloud, prompts: int) -> Floats:
    found = np.zeros((len(cloud.group), prompts))
    found[np.arange(len(cloud.group)), cloud.group] = 1
    return found
