"""Scores of the same prompts and seeds by run and base: win rates, raw scores, and whether there is a difference at
all. Everything is over prompts, because images of one prompt are not independent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from training.intervals import Estimate, Floats, effective, resampled_share

RESAMPLES = 2000

MarginFrom = Literal["none", "absolute", "repeatability", "oracle"]


@dataclass(frozen=True)
class Margin:
    """Scores that differ by at most `width` are a tie. `source` says where that comes from: the user ("absolute"), the
    scorer's own repeatability, Toyworld's oracle, or "none", where equal scores alone are a tie."""

    width: float = 0.0
    source: MarginFrom = "none"


@dataclass(frozen=True)
class WinRate:
    """The run against its base by one judge. `rate` counts a tie one half; `low` and `high` bound 95 %.

    `credits` has the rate of each prompt, in the order in which they were drawn, so that two runs can be compared
    prompt by prompt. Of the raw scores there are the mean over images (`gain`: run less base, paired) and the median
    over prompts of each prompt's mean. `p_value` is that of a two-sided sign test over prompts: how often as many of
    those with a winner would go one way by chance. `circular` says that the judge had a part in choosing the run's
    pairs. What records older than a field leave out is empty or None.
    """

    judge: str
    rate: float
    low: float
    high: float
    wins: int
    losses: int
    ties: int
    mean_base: float
    mean_run: float
    credits: tuple[float, ...] = ()
    gain: Estimate | None = None
    median_base: Estimate | None = None
    median_run: Estimate | None = None
    median_gain: Estimate | None = None
    p_value: float | None = None
    margin: Margin = Margin()
    circular: bool = False
    scorer_id: str = ""


@dataclass(frozen=True)
class ByPrompt:
    """Which prompt each of N images shows: `group` (N,) numbers the P distinct ones in the order of the images,
    `counts` (P,) has how many each has."""

    group: NDArray[np.int64]
    counts: Floats

    @classmethod
    def of(cls, prompts: list[str]) -> ByPrompt:
        """From the prompt of each image."""
        place = {prompt: number for number, prompt in enumerate(dict.fromkeys(prompts))}
        group = np.array([place[prompt] for prompt in prompts], np.int64)
        return cls(group, np.bincount(group, minlength=len(place)).astype(np.float64))

    def sums(self, values: Floats) -> Floats:
        """Each prompt's sum (P,) of values (N,)."""
        return np.bincount(self.group, values, len(self.counts))

    def means(self, values: Floats) -> Floats:
        """Each prompt's mean (P,) of values (N,)."""
        return self.sums(values) / self.counts

    def picks(self, seed: int) -> NDArray[np.int64]:
        """Prompts drawn with replacement (2000, P), the same for a seed and a number of prompts."""
        return np.random.default_rng(seed).integers(0, len(self.counts), (RESAMPLES, len(self.counts)))


def win_rate(
    judge: str,
    base: NDArray[np.float32],
    run: NDArray[np.float32],
    prompts: list[str],
    *,
    margin: Margin | float = 0.0,
    seed: int = 0,
    circular: bool = False,
    scorer_id: str = "",
) -> WinRate:
    """What one judge's scores of equal prompts and seeds say of `run` against `base`; a gap of at most the margin is a
    tie.

    Intervals are 95 % percentile bootstraps over prompts, 2000 resamples, seeded. Of a rate of which no resample knows
    another (0, 1, one prompt, prompts that all have the same) it is Wilson's, as if each prompt were one trial; scores
    of a single prompt have none (NaN).
    """
    if not isinstance(margin, Margin):
        margin = Margin(margin, "absolute" if margin else "none")
    before, after = np.asarray(base, np.float64), np.asarray(run, np.float64)
    gap = after - before
    credit = np.where(gap > margin.width, 1.0, np.where(gap < -margin.width, 0.0, 0.5))
    by = ByPrompt.of(prompts)
    picks = by.picks(seed)

    def ratios(values: Floats) -> Floats:
        return np.asarray(by.sums(values)[picks].sum(1) / by.counts[picks].sum(1))

    def over_prompts(statistic: Callable[..., Floats], *values: Floats) -> Estimate:
        means = [by.means(each) for each in values]
        drawn = statistic(*(each[picks] for each in means))
        return Estimate.of(float(statistic(*means)), drawn, clusters=len(by.counts))

    rate = resampled_share(float(credit.mean()), ratios(credit), effective(by.counts))
    return WinRate(
        judge=judge,
        rate=rate.value,
        low=rate.low,
        high=rate.high,
        wins=int((credit == 1).sum()),
        losses=int((credit == 0).sum()),
        ties=int((credit == 0.5).sum()),
        mean_base=float(before.mean()),
        mean_run=float(after.mean()),
        credits=tuple(by.means(credit).tolist()),
        gain=Estimate.of(float(gap.mean()), ratios(gap), clusters=len(by.counts)),
        median_base=over_prompts(_median, before),
        median_run=over_prompts(_median, after),
        median_gain=over_prompts(lambda a, b: _median(b) - _median(a), before, after),
        p_value=sign_test(by.means(credit)),
        margin=margin,
        circular=circular,
        scorer_id=scorer_id,
    )


def sign_test(credits: Floats) -> float:
    """Two-sided exact p-value that prompts with a credit above one half are as frequent as those below (the sign test,
    Dixon & Mood 1946); 1 where no prompt has a winner."""
    for_run, for_base = int((credits > 0.5).sum()), int((credits < 0.5).sum())
    return float(binomtest(for_run, for_run + for_base).pvalue) if for_run + for_base else 1.0


def repeatability(first: NDArray[np.float32], again: NDArray[np.float32]) -> float:
    """The difference below which two scores of one picture lie in 95 % of cases, from N pictures scored twice: the
    repeatability coefficient 1.96 · √(mean d²) (Bland & Altman 1986, with the within-subject variance mean d²/2)."""
    gap = np.asarray(first, np.float64) - np.asarray(again, np.float64)
    return float(1.96 * np.sqrt((gap**2).mean()))


def _median(values: Floats) -> Floats:
    return np.median(values, axis=-1)
