"""What label confidence must beat at finding wrong labels: single scorers, votes of scorers, and cleanlab's scores over
cross-validated logistic regressions. Each gives a number per pair, higher where the label looks right."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray

from ranking.confidence.basis import fit_basis
from ranking.confidence.evidence import FOLDS, Evidence

Floats = NDArray[np.float64]


def rivals(evidence: Evidence) -> dict[str, Floats]:
    """All of them by name; 0 says nothing in particular. Only pairs with a winner are meant."""
    found = {f"{name}, {form}": values for name, form, values in _single(evidence)}
    found |= _votes(evidence)
    gaps = _standard_gaps(evidence)
    missing = np.isnan(_gaps(evidence)).astype(np.float64)
    plain = np.concatenate([gaps, missing[:, missing.any(axis=0)]], axis=1)
    everything = np.concatenate(
        [fit_basis(evidence).columns(evidence), _neighbours(evidence), _rater_columns(evidence)], axis=1
    )
    return found | _cleanlab(evidence, plain, "gaps") | _cleanlab(evidence, everything, "all we know")


def _gaps(evidence: Evidence) -> Floats:
    """Image 0 − image 1."""
    return (evidence.scores_0 - evidence.scores_1).astype(np.float64)


def _standard_gaps(evidence: Evidence) -> Floats:
    gaps = _gaps(evidence)
    spread = np.nanstd(gaps, axis=0)
    return np.nan_to_num(gaps / np.where(spread > 0, spread, 1.0))


def _single(evidence: Evidence) -> list[tuple[str, str, Floats]]:
    out, sign = [], evidence.sign
    for place, name in enumerate(evidence.scorers):
        first, second = (scores[:, place].astype(np.float64) for scores in (evidence.scores_0, evidence.scores_1))
        both = np.concatenate([first, second])
        if not np.isfinite(both).any():
            continue
        mean, spread = np.nanmean(both), np.nanstd(both) or 1.0
        squashed = [1 / (1 + np.exp(-(side - mean) / spread)) for side in (first, second)]
        count = np.bincount(evidence.cluster, np.isfinite(first))
        square = np.bincount(evidence.cluster, np.nan_to_num((first - second) ** 2))
        by_prompt = np.sqrt(square / np.maximum(count, 1))[evidence.cluster]
        forms = {
            "raw or minmax": first - second,
            "sigmoid": squashed[0] - squashed[1],
            "prompt-z": (first - second) / np.where(by_prompt > 0, by_prompt, 1.0),
        }
        out += [(name, form, np.nan_to_num(gap * sign)) for form, gap in forms.items()]
    return out


def _votes(evidence: Evidence) -> dict[str, Floats]:
    gaps = _gaps(evidence) * evidence.sign[:, None]
    vote = np.nan_to_num(np.sign(gaps))
    told = evidence.sign != 0
    # A scorer's weight is the log-odds of its agreement with the labels, fitted on them all.
    agree = np.array([np.mean(each[told & (each != 0)] > 0) if (told & (each != 0)).any() else 0.5 for each in vote.T])
    weight = np.log(agree / (1 - agree))
    return {
        "majority vote": vote.sum(axis=1),
        "weighted vote": vote @ weight,
        "mean z-gap": _standard_gaps(evidence).sum(axis=1) * evidence.sign,
    }


def _neighbours(evidence: Evidence) -> Floats:
    """Wins − losses of either image in other pairs, as a difference, and its sign."""
    sign = evidence.sign
    items = int(max(evidence.first.max(), evidence.second.max())) + 1
    score = np.bincount(evidence.first, sign, items) - np.bincount(evidence.second, sign, items)
    first, second = score[evidence.first] - sign, score[evidence.second] + sign
    return np.stack([first - second, np.sign(first) - np.sign(second)], axis=1)


def _rater_columns(evidence: Evidence) -> Floats:
    """How often the rater's other labels agree with the majority of scorers, times that majority: what a linear model
    needs to trust it less or more."""
    majority = np.nan_to_num(np.sign(_gaps(evidence))).sum(axis=1)
    told = (evidence.sign != 0) & (evidence.rater >= 0)
    agrees = np.where(told, (np.sign(majority) == evidence.sign).astype(np.float64), 0.0)
    size = len(evidence.raters) + 1
    rater = np.where(evidence.rater < 0, size - 1, evidence.rater)
    share = (np.bincount(rater, agrees, size)[rater] - agrees + 3) / (
        np.bincount(rater, told.astype(np.float64), size)[rater] - told + 5
    )
    return np.stack([majority, majority * share], axis=1)


def _cleanlab(evidence: Evidence, columns: Floats, name: str) -> dict[str, Floats]:
    from cleanlab.rank import get_label_quality_scores
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rows = np.flatnonzero(evidence.sign != 0)
    label = (evidence.sign[rows] < 0).astype(np.int64)
    chance = np.zeros((len(rows), 2))
    for train, held in GroupKFold(FOLDS).split(rows, groups=evidence.cluster[rows]):
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        model.fit(columns[rows[train]], label[train])
        chance[held] = model.predict_proba(columns[rows[held]])
    out = {}
    for method in ("self_confidence", "normalized_margin", "confidence_weighted_entropy"):
        for adjust in (False, True):
            if adjust and method == "confidence_weighted_entropy":
                continue
            values = np.zeros(len(evidence))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                values[rows] = get_label_quality_scores(label, chance, method=method, adjust_pred_probs=adjust)
            out[f"cleanlab {method}{', adjusted' * adjust} ({name})"] = values
    return out
