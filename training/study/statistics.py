"""From tallies to values with intervals: a bootstrap over prompts, the same resamples for every arm, so that
differences are paired."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from training.intervals import Estimate, Floats, between, effective, resampled_share
from training.study.judges import Reduce
from training.study.tallies import Tally

RESAMPLES = 2000
_BLOCK = 40
_SEED = 0


@dataclass(frozen=True)
class Compared:
    """What one judge says of one arm: the mean over its seeds, the value of each, and how much more that is than the
    control `random` has (None for that itself, or where a study is without). Intervals are over prompts: percentiles of
    the bootstrap, or of a proportion of which no resample knows another (`resampled_share`) Wilson's and `between`."""

    mean: Estimate
    seeds: dict[int, float]
    over_random: Estimate | None


def reduced(part: Floats, whole: Floats, how: Reduce) -> Floats:
    """The value of summed tallies, elementwise, NaN where nothing was counted.

    proportion  part / whole, of things that are right or not
    mean        part / whole
    perplexity  exp(ln N − part / N) for N = whole and part = Σ n ln n: e to the entropy of the shares n / N
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(whole > 0, part / whole, np.nan)
        return share if how != "perplexity" else np.where(whole > 0, np.exp(np.log(whole) - share), np.nan)


def compare(
    cells: Mapping[tuple[str, int], Tally], *, how: Reduce, baseline: str | None, resamples: int = RESAMPLES
) -> dict[str, Compared]:
    """By arm what a judge's tallies of every (arm, seed) come to. `baseline` is the arm that the others are compared
    with. Resampled are the prompts that any cell knows."""
    prompts = sorted({prompt for tally in cells.values() for prompt in tally.prompts})
    places = {prompt: place for place, prompt in enumerate(prompts)}
    sums = np.zeros((2, len(prompts), len(cells)))
    for column, tally in enumerate(cells.values()):
        rows = np.array([places[prompt] for prompt in tally.prompts], np.int64)
        sums[0, rows, column], sums[1, rows, column] = tally.part, tally.whole
    values = reduced(*sums.sum(axis=1), how)
    draws = np.concatenate(
        [reduced(*(counts @ part for part in sums), how) for counts in _resamples(len(prompts), resamples)]
    )
    members: dict[str, list[int]] = {}
    for column, (arm, _) in enumerate(cells):
        members.setdefault(arm, []).append(column)
    point = {arm: float(values[columns].mean()) for arm, columns in members.items()}
    drawn = {arm: draws[:, columns].mean(axis=1) for arm, columns in members.items()}
    means = {arm: Estimate.of(point[arm], drawn[arm]) for arm in members}
    alike = {arm for arm in members if how == "proportion" and means[arm].low == means[arm].high}
    for arm in alike:
        means[arm] = resampled_share(point[arm], drawn[arm], effective(sums[1][:, members[arm]].mean(axis=1)))
    found = {}
    for arm in members:
        over = None
        if baseline in members and arm != baseline:
            over = Estimate.of(point[arm] - point[baseline], drawn[arm] - drawn[baseline])
            over = between(means[arm], means[baseline]) if alike & {arm, baseline} else over
        seeds = {seed: float(values[column]) for column, (name, seed) in enumerate(cells) if name == arm}
        found[arm] = Compared(means[arm], seeds, over)
    return found


def _resamples(prompts: int, resamples: int) -> Iterator[Floats]:
    """How often each prompt is in each resample, (block, prompts), some resamples at a time."""
    rng = np.random.default_rng(_SEED)
    for start in range(0, resamples, _BLOCK):
        size = min(_BLOCK, resamples - start)
        picks = rng.integers(0, max(1, prompts), (size, prompts)) + prompts * np.arange(size)[:, None]
        yield np.bincount(picks.ravel(), minlength=size * prompts).reshape(size, prompts).astype(np.float64)
