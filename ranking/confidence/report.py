"""What a fit of label confidence says of scorers, raters, models and itself, as plain numbers that are kept as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ranking.confidence.basis import Basis
from ranking.confidence.calibration import Bin, Reliability, reliability
from ranking.confidence.evidence import Evidence
from ranking.confidence.judge import Judged

Floats = NDArray[np.float64]

RATERS_SHOWN = 200
_RATER_PAIRS = 10
FEW = 200


@dataclass(frozen=True)
class ScorerWeight:
    """A scorer's part: `weight`, the change in a label's probit margin for a gap of usual size (its median) with all
    other gaps as they are, mean of the folds, `low` and `high` its extremes among them; `agreement`, the share of
    labels it agrees with; `pairs`, those with both scores. A scorer whose gaps are all equal is not used."""

    scorer: str
    used: bool
    weight: float
    low: float
    high: float
    agreement: float | None
    pairs: int


@dataclass(frozen=True)
class RaterRecord:
    """A rater's judgements with a winner, the share in which all else prefers the same image, the share expected of a
    rater without lapses, and the estimated share of opposite answers."""

    rater: str
    pairs: int
    agreement: float
    expected: float
    lapse: float


@dataclass(frozen=True)
class Fold:
    """One fold's world. `weights` are the coefficients of the columns of the basis."""

    pairs: int
    spread: float
    stretch: float
    weights: tuple[float, ...]


@dataclass(frozen=True)
class Report:
    """`judged` pairs have a winner. `wrong` is the estimated share of wrong labels, `lapse` that of opposite answers;
    the rest of what is wrong are pairs too close to see. `predicted` is the reliability of predictions of the labels
    themselves by what has not seen them; `voted` that of `preference_0` against the votes of several judges, where
    there are any. `few` says that there were too few pairs to learn more than what is usual. `basis` and `folds` are
    the model."""

    pairs: int
    judged: int
    few: bool
    wrong: float
    lapse: float
    scorers: tuple[ScorerWeight, ...]
    raters: tuple[RaterRecord, ...]
    predicted: Reliability
    voted: Reliability | None
    basis: dict[str, Any]
    folds: tuple[Fold, ...]

    def as_json(self) -> dict[str, Any]:
        """A JSON value."""
        return asdict(self)

    @classmethod
    def parse(cls, value: dict[str, Any]) -> Report:
        """The report of such a value; KeyError or TypeError if it is none."""
        return cls(
            **value
            | {
                "scorers": tuple(ScorerWeight(**each) for each in value["scorers"]),
                "raters": tuple(RaterRecord(**each) for each in value["raters"]),
                "predicted": _parsed(value["predicted"]),
                "voted": _parsed(value["voted"]) if value["voted"] else None,
                "folds": tuple(Fold(**each | {"weights": tuple(each["weights"])}) for each in value["folds"]),
            }
        )


def report_of(evidence: Evidence, judged: Judged) -> Report:
    """The report of a fit."""
    sign, told = evidence.sign, evidence.winner >= 0
    confidence = judged.confidence[told]
    side = np.maximum(judged.answer, 1 - judged.answer)[told]
    agrees = ((judged.answer > 0.5) == (sign > 0))[told].astype(np.float64)
    votes = evidence.votes_0.astype(np.float64) + evidence.votes_1
    several = np.isfinite(votes) & (votes > 1)
    voted = None
    if several.any():
        share = evidence.votes_0[several] / votes[several]
        better, share = judged.preference[several], share.astype(np.float64)
        voted = reliability(np.maximum(better, 1 - better), np.where(better >= 0.5, share, 1 - share), low=0.5)
    return Report(
        pairs=len(evidence),
        judged=int(told.sum()),
        few=int(told.sum()) < FEW,
        wrong=_rounded(1 - confidence.mean()) if len(confidence) else 0.0,
        lapse=_rounded(judged.lapse[told].mean()) if len(confidence) else 0.0,
        scorers=_scorers(evidence, judged),
        raters=_raters(evidence, judged),
        predicted=reliability(side, agrees, low=0.5),
        voted=voted,
        basis=_basis(judged.basis) | {"models": [evidence.models[code] for code in judged.basis.kept]},
        folds=tuple(
            Fold(
                int((evidence.fold == k).sum()),
                _rounded(world.spread),
                _rounded(world.stretch),
                tuple(_rounded(each) for each in world.weights),
            )
            for k, world in enumerate(judged.fitted.worlds)
        ),
    )


def basis_of(report: Report) -> Basis:
    """The basis that the report keeps."""
    kept = report.basis
    return Basis(
        used=tuple(kept["used"]),
        gap_scale=np.array(kept["gap_scale"]),
        centre=np.array(kept["centre"]),
        scale=np.array(kept["scale"]),
        filled={int(code): np.array(matrix) for code, matrix in kept["filled"].items()},
        kept=tuple(kept["kept"]),
        size=np.array(kept["size"]),
        prior=np.array(kept["prior"]),
        owner=np.array(kept["owner"], np.int64),
        partner=np.array(kept["partner"], np.int64),
    )


def _basis(basis: Basis) -> dict[str, Any]:
    plain = {name: np.asarray(getattr(basis, name)).tolist() for name in basis.__dataclass_fields__ if name != "filled"}
    return plain | {"filled": {str(code): matrix.tolist() for code, matrix in sorted(basis.filled.items())}}


def _scorers(evidence: Evidence, judged: Judged) -> tuple[ScorerWeight, ...]:
    basis, sign = judged.basis, evidence.sign
    places = {place: index for index, place in enumerate(basis.used)}
    found = []
    for place, name in enumerate(evidence.scorers):
        gap = evidence.scores_0[:, place].astype(np.float64) - evidence.scores_1[:, place]
        there = np.isfinite(gap)
        telling = there & (gap != 0) & (sign != 0)
        agreement = _rounded(np.mean(np.sign(gap[telling]) == sign[telling])) if telling.any() else None
        each = np.zeros(1)
        if place in places:
            # A gap of usual size is 1 / 1.4826 on the scale of the columns; bent, x / (1 + x).
            index, usual = places[place], 1 / 1.4826
            bent = index + len(basis.used)
            each = np.array(
                [
                    w.weights[index] * usual / basis.size[index]
                    + w.weights[bent] * usual / (1 + usual) / basis.size[bent]
                    for w in judged.fitted.worlds
                ]
            )
        mean, low, high = (_rounded(value) for value in (each.mean(), each.min(), each.max()))
        found.append(ScorerWeight(name, place in places, mean, low, high, agreement, int(there.sum())))
    return tuple(found)


def _raters(evidence: Evidence, judged: Judged) -> tuple[RaterRecord, ...]:
    """Those with at least ten judgements, the least reliable first."""
    rows = np.flatnonzero((evidence.winner >= 0) & (evidence.rater >= 0))
    size, rater = len(evidence.raters), evidence.rater[rows]
    better = judged.preference[rows]
    same = ((better > 0.5) == (evidence.sign[rows] > 0)).astype(np.float64)
    count = np.bincount(rater, minlength=size)
    sums = [np.bincount(rater, values, size) for values in (same, np.maximum(better, 1 - better), judged.lapse[rows])]
    means = [np.round(each / np.maximum(count, 1), 6) for each in sums]
    shown = np.flatnonzero(count >= _RATER_PAIRS)
    order = sorted(shown.tolist(), key=lambda code: (-means[2][code], evidence.raters[code]))[:RATERS_SHOWN]
    return tuple(
        RaterRecord(evidence.raters[c], int(count[c]), float(means[0][c]), float(means[1][c]), float(means[2][c]))
        for c in order
    )


def _rounded(value: float | np.floating) -> float:
    return round(float(value), 6)


def _parsed(value: dict[str, Any]) -> Reliability:
    return Reliability(**value | {"bins": tuple(Bin(**each) for each in value["bins"])})
