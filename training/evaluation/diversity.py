"""How different the images of one prompt are: a tuned model that draws one picture over and over wins and is
useless."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.evaluation.winrates import ByPrompt
from training.intervals import Estimate, Floats


@dataclass(frozen=True)
class Diversity:
    """Mean distance of two images of one prompt, by base and run, and how much greater the run's is, with intervals
    over prompts. Distances are 1 − cosine of the embedding `of` a scorer, in [0, 2]; prompts of a single image do not
    count."""

    of: str
    base: Estimate
    run: Estimate
    change: Estimate
    prompts: int


def diversity(
    of: str, base: NDArray[np.float32], run: NDArray[np.float32], prompts: list[str], *, seed: int = 0
) -> Diversity | None:
    """From unit embeddings (N, d) of equal prompts; None where no prompt has two images. Intervals are 95 % percentile
    bootstraps over prompts, the same prompts for base and run; a single one has none (NaN)."""
    by = ByPrompt.of(prompts)
    several = by.counts > 1
    if not several.any():
        return None
    before, after = (prompt_distances(each, by)[several] for each in (base, run))
    picks = np.random.default_rng(seed).integers(0, len(before), (2000, len(before)))

    def estimate(values: Floats) -> Estimate:
        return Estimate.of(float(values.mean()), values[picks].mean(1), clusters=len(values))

    return Diversity(of, estimate(before), estimate(after), estimate(after - before), int(several.sum()))


def prompt_distances(vectors: NDArray[np.float32], by: ByPrompt) -> Floats:
    """Each prompt's mean 1 − cosine over pairs of its n unit vectors (P,), NaN for n = 1. By
    Σ_{i≠j} x_i·x_j = ‖Σ x‖² − Σ ‖x‖² no pair is looked at."""
    exact = np.asarray(vectors, np.float64)
    sums = np.zeros((len(by.counts), exact.shape[1]))
    np.add.at(sums, by.group, exact)
    squares = by.sums((exact**2).sum(1))
    pairs = by.counts * (by.counts - 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(pairs > 0, 1 - ((sums**2).sum(1) - squares) / pairs, np.nan)
