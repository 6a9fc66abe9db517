"""Evidence of a few pairs, made by hand."""

from collections.abc import Sequence

import numpy as np

from ranking.confidence.evidence import FOLDS, Evidence


def evidence(
    pairs: Sequence[tuple[int, int, int]], *, scores: np.ndarray | None = None, fold: int | None = None
) -> Evidence:
    """Pairs of (first item, second item, winner), each prompt one item's number over 100; `scores` by item and
    scorer."""
    first, second, winner = (np.array(each, np.int64) for each in zip(*pairs, strict=True))
    n, scorers = len(pairs), 0 if scores is None else scores.shape[1]
    table = np.zeros((int(max(first.max(), second.max())) + 1, 0)) if scores is None else scores
    cluster = first // 100
    none = np.full(n, np.nan, np.float32)
    return Evidence(
        scorers=tuple(f"s{place}" for place in range(scorers)),
        scores_0=table[first].astype(np.float32),
        scores_1=table[second].astype(np.float32),
        first=first,
        second=second,
        winner=winner.astype(np.int8),
        votes_0=none,
        votes_1=none,
        rater=np.full(n, -1),
        model_0=np.full(n, -1),
        model_1=np.full(n, -1),
        cluster=cluster,
        fold=(cluster % FOLDS if fold is None else np.full(n, fold)).astype(np.int8),
    )
