"""What is known of each pair, as arrays: scores, who judged what, which models drew, and the fold of its prompt. Fits
nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

FOLDS = 10

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]
Rows = NDArray[np.int64] | NDArray[np.bool_]


@dataclass(frozen=True)
class Evidence:
    """N pairs. Arrays have N rows; codes count from 0 and are −1 where unknown.

    `scores_0`, `scores_1`: float32 (N, scorers), NaN where there is none. `first`, `second`: the two items (an image
    under a prompt). `winner`: 0, 1 or −1 for a tie. `votes_0`, `votes_1`: float32, NaN where one person judged.
    `cluster`: prompts that are nearly the same; `fold`: 0 … `FOLDS` − 1, one for a whole cluster.
    """

    scorers: tuple[str, ...]
    scores_0: NDArray[np.float32]
    scores_1: NDArray[np.float32]
    first: Codes
    second: Codes
    winner: NDArray[np.int8]
    votes_0: NDArray[np.float32]
    votes_1: NDArray[np.float32]
    rater: Codes
    model_0: Codes
    model_1: Codes
    cluster: Codes
    fold: NDArray[np.int8]
    raters: tuple[str, ...] = ()
    models: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.winner)

    @property
    def sign(self) -> Floats:
        """+1 where image 0 won, −1 where image 1 did, 0 for a tie."""
        return np.array([1.0, -1.0, 0.0])[self.winner]

    def take(self, rows: Rows) -> Evidence:
        """The same of some pairs."""
        each = {
            name: getattr(self, name)[rows]
            for name in self.__dataclass_fields__
            if name not in ("scorers", "raters", "models")
        }
        return replace(self, **each)
