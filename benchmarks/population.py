"""A made-up population of raters, models, scorers and chains like Pick-a-Pic's, whose truth is known: numbers only, no
pictures. For benchmarks and tests of label confidence."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ranking.confidence.evidence import FOLDS, Evidence

KINDS = ("uniform", "raters", "hard")
SCORERS = ("good", "fair", "weak", "twin-of-good", "other-twin", "useless", "constant", "patchy")


@dataclass(frozen=True)
class Population:
    """Pairs as evidence; `wrong` marks labels that name the worse image, `flipped` those turned after they were meant,
    `gap` is the true difference in quality, in deviations of an image's quality."""

    evidence: Evidence
    wrong: NDArray[np.bool_]
    flipped: NDArray[np.bool_]
    gap: NDArray[np.float64]


def population(pairs: int, *, noise: float, kind: str, seed: int, raters: int | None = None) -> Population:
    """Sessions of one rater under one prompt: the winner stays, the loser is replaced, as in Pick-a-Pic's web app.

    Raters judge a heavy-tailed number of pairs; models differ in ability; scorers agree with
    63 to 68 % of labels where 5 % are flipped and 55 to 57 % where 30 % are, and two are near copies of the best.
    `noise` is the share of flipped labels, `kind` where they are, as in `training.toyworld.raters`.
    """
    rng = np.random.default_rng(seed)
    lengths = rng.geometric(0.35, pairs)
    lengths = lengths[: int(np.searchsorted(np.cumsum(lengths), pairs)) + 1]
    lengths[-1] -= int(lengths.sum()) - pairs
    sessions = len(lengths)
    images = lengths + 1
    start = np.concatenate([[0], np.cumsum(images)[:-1]])
    total = int(images.sum())
    crew = raters or max(20, pairs // 120)
    busy = rng.pareto(1.1, crew) + 0.5
    who = rng.choice(crew, sessions, p=busy / busy.sum())
    # Half of a rater's sessions go on with the prompt of the one before: its prompts have several chains.
    prompt = np.arange(sessions)
    again = rng.random(sessions) < 0.3
    prompt = np.maximum.accumulate(np.where(again, 0, prompt))
    ability = np.array([-0.6, -0.2, 0.0, 0.1, 0.3, 0.6])
    model = rng.integers(0, len(ability), total)
    quality = rng.normal(0, 1, total) + ability[model]

    careless = np.zeros(crew, bool)
    if kind == "raters":
        # Twice the rate of the work, not of the heads, is done by raters who answer at random.
        load = np.bincount(who, lengths, crew) / pairs
        order = rng.permutation(crew)
        careless[order[np.cumsum(load[order]) <= 2 * noise]] = True
    neighbour = np.abs(np.diff(quality))
    width = _width(neighbour, noise)
    sharpness = rng.uniform(1.0, 4.0, crew)

    first, second = np.zeros(pairs, np.int64), np.zeros(pairs, np.int64)
    label, flipped = np.zeros(pairs, np.int8), np.zeros(pairs, bool)
    left, right = start.copy(), start + 1
    row = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    for step in range(int(lengths.max())):
        on = np.flatnonzero(lengths > step)
        at = row[on] + step
        gap = quality[left[on]] - quality[right[on]]
        rate = {
            "uniform": np.full(len(on), noise),
            "raters": np.where(careless[who[on]], 0.5, 0.0),
            "hard": 0.5 * np.exp(-np.abs(gap) / width),
        }[kind]
        meant = rng.random(len(on)) < 1 / (1 + np.exp(-1.7 * sharpness[who[on]] * gap))
        turned = rng.random(len(on)) < rate
        tie = rng.random(len(on)) < 0.12
        won = meant != turned
        first[at], second[at] = left[on], right[on]
        label[at] = np.where(tie, -1, np.where(won, 0, 1))
        flipped[at] = turned & ~tie
        new = start[on] + step + 2
        keep_left = won
        left[on], right[on] = np.where(keep_left, left[on], new), np.where(keep_left, new, right[on])

    scores = _scores(quality, np.repeat(np.arange(sessions), images), model, rng)
    of = np.repeat(np.arange(sessions), lengths)
    cluster = prompt[of]
    truth = quality[first] - quality[second]
    evidence = Evidence(
        scorers=SCORERS,
        scores_0=scores[first],
        scores_1=scores[second],
        first=first,
        second=second,
        winner=label,
        votes_0=np.full(pairs, np.nan, np.float32),
        votes_1=np.full(pairs, np.nan, np.float32),
        rater=who[of],
        model_0=model[first],
        model_1=model[second],
        cluster=cluster,
        fold=((cluster * 2654435761 >> 7) % FOLDS).astype(np.int8),
        raters=tuple(f"rater-{number}" for number in range(crew)),
        models=tuple(f"model-{number}" for number in range(len(ability))),
    )
    wrong = (label >= 0) & ((label == 0) != (truth > 0))
    return Population(evidence, wrong, flipped, truth)


def _scores(
    quality: NDArray[np.float64], prompt: NDArray[np.int64], model: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.float32]:
    n = len(quality)
    taste = rng.normal(0, 1, n)  # what scorers like and people do not
    baseline = rng.normal(0, 2, prompt.max() + 1)[prompt]
    good = quality + 1.1 * taste + rng.normal(0, 1.2, n)
    columns = [
        good + baseline,
        np.tanh(0.7 * quality) * 1.5 + 0.9 * rng.normal(0, 1, n) + 1.0 * taste + 0.5 * baseline,
        0.35 * quality + rng.normal(0, 1, n) + 0.3 * model,
        good + baseline + rng.normal(0, 0.3, n),
        good + baseline + rng.normal(0, 0.6, n),
        rng.normal(0, 1, n),
        np.full(n, 0.25),
        np.where(rng.random(n) < 0.4, np.nan, quality + rng.normal(0, 1.6, n)),
    ]
    return np.stack(columns, axis=1).astype(np.float32)


def _width(sizes: NDArray[np.float64], noise: float) -> float:
    low, high = 1e-6, 1e6
    for _ in range(100):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if 0.5 * np.exp(-sizes / middle).mean() < noise else (low, middle)
    return float(high)
