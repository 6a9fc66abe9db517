"""Accuracy on held-out pairs, by every protocol, of the trained scorer and of whatever it should be better than."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ranking.names import nulls_for_nan
from training.reward.examples import Examples
from training.reward.protocols import (
    Accuracy,
    Calibration,
    accuracy,
    by_chance,
    by_majority,
    calibration,
    difference,
    hpdv2,
    imagerewarddb,
    pickapic,
    temperature,
    tuned_threshold,
)

PROTOCOLS = {
    "pickapic": "Pick-a-Pic",
    "imagerewarddb": "ImageRewardDB",
    "hpdv2": "HPDv2",
}
"""The protocols by key, and how people call them."""

Sides = NDArray[np.float64]
"""Scores of both images of pairs, float64 (n, 2); NaN where one is missing."""


@dataclass(frozen=True)
class Judged:
    """One scorer on the test pairs, its `role` "trained", "base", "scorer" or "seen": accuracy by protocol, how much
    more that is than the base's, and how it is calibrated. `scale` made its gaps logits, `threshold` is Pick-a-Pic's;
    both are tuned on the validation pairs, but for the scale of the trained one, whose gaps are logits."""

    name: str
    role: str
    accuracies: dict[str, Accuracy]
    over_base: dict[str, Accuracy]
    calibration: Calibration
    scale: float
    threshold: float


@dataclass(frozen=True)
class Comparison:
    """All of them on the same test pairs, the trained one first, and what no skill gets: by protocol the toss of a
    coin, and by Pick-a-Pic's the verdict that validation pairs have most often."""

    pairs: int
    ties: int
    prompts: int
    judged: tuple[Judged, ...]
    chance: dict[str, float]
    majority: float

    def plain(self) -> dict[str, Any]:
        """As JSON: NaN is null."""
        cleaned: dict[str, Any] = nulls_for_nan(asdict(self))
        return cleaned


def compare(examples: Examples, trained: Sides, base: Sides, *, seen: frozenset[str] = frozenset()) -> Comparison:
    """Judge the trained scorer, its base and the snapshot's scorers, whose scores are those of all pairs (rows of
    `examples`); only validation and test rows are looked at. Scorers without a score for some pair of either split are
    judged on the pairs that they have, and by a difference only where both have one. Those that have `seen` test pairs
    in their own training get the role "seen"."""
    validation, test = examples.part("validation"), examples.part("test")
    label = examples.pairs.label
    contenders = {"base": ("base", base), "trained": ("trained", trained)}
    contenders |= {name: ("seen" if name in seen else "scorer", values) for name, values in examples.scores.items()}
    prompt = examples.pairs.prompt[test]
    judged: list[Judged] = []
    base_credits: dict[str, NDArray[np.float64]] = {}
    for name, (role, values) in contenders.items():
        gap = values[:, 0] - values[:, 1]
        tuned, known = validation[np.isfinite(gap[validation])], np.isfinite(gap[test])
        if not known.any() or not len(tuned):
            continue
        scale = 1.0 if role == "trained" else temperature(gap[tuned], label[tuned])
        threshold = tuned_threshold(scale * gap[tuned], label[tuned])
        credits = _credits(examples, test[known], values, scale=scale, threshold=threshold, where=known)
        base_credits = base_credits or credits
        over = {p: difference(credits[p], base_credits[p], prompt, by_prompt=p == "hpdv2") for p in PROTOCOLS}
        judged.append(
            Judged(
                name=name,
                role=role,
                accuracies={p: accuracy(credits[p], prompt, by_prompt=p == "hpdv2") for p in PROTOCOLS},
                over_base=over if role != "base" else {},
                calibration=calibration(scale * gap[test][known], label[test][known]),
                scale=scale,
                threshold=threshold,
            )
        )
    return Comparison(
        pairs=len(test),
        ties=int((label[test] == 0.5).sum()),
        prompts=len(np.unique(prompt)),
        judged=tuple(sorted(judged, key=lambda each: ("trained", "base", "scorer", "seen").index(each.role))),
        chance={protocol: by_chance(label[test], protocol) for protocol in PROTOCOLS},
        majority=float(by_majority(label[validation], label[test]).mean()),
    )


def _credits(
    examples: Examples,
    rows: NDArray[np.int64],
    values: Sides,
    *,
    scale: float,
    threshold: float,
    where: NDArray[np.bool_],
) -> dict[str, NDArray[np.float64]]:
    """By protocol the credit of every test pair, NaN where the scorer has no scores."""
    pairs, gap = examples.pairs.take(rows), values[rows, 0] - values[rows, 1]
    found = {
        "pickapic": pickapic(scale * gap, pairs.label, threshold=threshold),
        "imagerewarddb": imagerewarddb(gap, pairs.label),
        "hpdv2": hpdv2(
            values[rows, 0],
            values[rows, 1],
            pairs.label,
            image_0=pairs.image_0,
            image_1=pairs.image_1,
            prompt=pairs.prompt,
        ),
    }
    spread = {protocol: np.full(len(where), np.nan) for protocol in found}
    for protocol, credit in found.items():
        spread[protocol][where] = credit
    return spread
