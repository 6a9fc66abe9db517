"""Which prompts are trained on, which decide when to stop, and which the accuracies are measured on."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

SPLITS = ("training", "validation", "test")


def split_of(clusters: Sequence[str], *, validation: float, test: float, seed: int) -> NDArray[np.int64]:
    """For each pair a position in SPLITS, int64 (n,), told by the cluster of near-duplicate prompts it belongs to.

    A cluster goes by the hash of its name and the seed, so it stays where it is when the dataset grows: what a model
    was tested on, the next one is not trained on. Shares are met in expectation.
    """
    known: dict[str, int] = {}
    for cluster in clusters:
        if cluster not in known:
            digest = hashlib.sha256(f"{seed}:{cluster}".encode()).digest()
            place = int.from_bytes(digest[:8], "big") / 2**64
            known[cluster] = 2 if place < test else 1 if place < test + validation else 0
    return np.array([known[cluster] for cluster in clusters], np.int64)
