"""The third stage: pictures and prompts go through the committee, and what comes back is checked.

One picture that a scorer cannot take must cost one row; a scorer that cannot take anything must cost the
attempt, not fill the store with failures.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from ranking.errors import PairsieveError

Scores = dict[str, npt.NDArray[np.float32]]


class ScorerError(PairsieveError):
    """A scorer failed as a whole, or returned something that is not one number per picture."""

    default_code = "scorer"


class Committee(Protocol):
    """What workers.scorers.registry.load_committee returns: some scorers that share decoding and towers."""

    @property
    def scorer_ids(self) -> dict[str, str]:
        """Scorer name to scorer id."""

    def score(self, images: list[Image.Image], prompts: list[str]) -> Scores:
        """For each scorer id, float32 of shape (n,): element i is image i with prompt i."""


def score_batch(
    committee: Committee, scorer_ids: Sequence[str], images: list[Image.Image], prompts: list[str]
) -> tuple[Scores, list[int]]:
    """Scores by scorer id, float32 of shape (n,), and the positions that no scorer could take (their score is
    NaN).

    When the committee fails on many at once it is asked again with halves, down to single pictures; this also
    gets a batch that does not fit into the device's memory through in smaller ones. Raises ScorerError if
    every one fails.
    """
    scores: Scores = {scorer_id: np.full(len(images), np.nan, np.float32) for scorer_id in scorer_ids}
    failed: list[int] = []
    last: Exception | None = None
    todo = [(0, len(images))] if images else []
    while todo:
        start, stop = todo.pop()
        try:
            part = committee.score(images[start:stop], prompts[start:stop])
        except Exception as error:
            last = error
            if stop - start == 1:
                failed.append(start)
            else:
                middle = (start + stop) // 2
                todo += [(middle, stop), (start, middle)]
            continue
        for scorer_id, values in _checked(part, scorer_ids, stop - start).items():
            scores[scorer_id][start:stop] = values
    if failed and len(failed) == len(images):
        raise ScorerError(f"the scorers failed on every picture ({type(last).__name__}: {last})") from last
    return scores, failed


def _checked(part: Scores, scorer_ids: Sequence[str], count: int) -> Scores:
    checked: Scores = {}
    for scorer_id in scorer_ids:
        if scorer_id not in part:
            raise ScorerError(f"the committee has no scores by {scorer_id}")
        values = np.asarray(part[scorer_id])
        if values.shape != (count,):
            raise ScorerError(f"{scorer_id} returned scores of shape {values.shape} for {count} pictures")
        with np.errstate(over="ignore"):  # too large for float32 becomes infinite, and that a status
            checked[scorer_id] = values.astype(np.float32)
    return checked
