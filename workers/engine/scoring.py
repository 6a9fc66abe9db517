"""The third stage: pictures and prompts go through the committee, and what comes back is checked.

One picture that a scorer cannot take must cost one row; a scorer that cannot take anything must cost the
attempt, not fill the store with failures.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ranking.errors import PairsieveError
from workers.engine.decoder import Seen
from workers.scorers.base import Batch, Embeddings, View

Scores = dict[str, npt.NDArray[np.float32]]


class ScorerError(PairsieveError):
    """A scorer failed as a whole, or returned something that is not one number per picture."""

    default_code = "scorer"


class Committee(Protocol):
    """What workers.scorers.registry.load_committee returns: some scorers that share decoding and towers."""

    @property
    def scorer_ids(self) -> dict[str, str]:
        """Scorer name to scorer id."""

    @property
    def embedding_ids(self) -> tuple[str, ...]:
        """The embeddings that come with these scorers."""

    def views(self, scorer_ids: Sequence[str]) -> dict[str, tuple[View, ...]]:
        """What each of these scorers sees of a picture."""

    def score(self, batch: Batch, scorer_ids: Sequence[str]) -> Scores:
        """For each of these scorers, float32 of shape (len(batch),)."""

    def embed(self, batch: Batch, embedding_id: str) -> Embeddings:
        """The embeddings of a batch that was scored."""


@dataclass(frozen=True)
class Scored:
    """`scores` by scorer id, float32 of shape (items,), NaN where there is none; `unseen`, by scorer id, the items
    whose picture one of its views could not show, with the status; `broken`, the items that the scorers failed on."""

    scores: Scores
    unseen: dict[str, dict[int, str]]
    broken: list[int]


def score_batch(
    committee: Committee, scorer_ids: Sequence[str], images: Sequence[dict[View, Seen]], prompts: Sequence[str]
) -> Scored:
    """Scores of items, item i being image i with prompt i; an image of several items is the same object.

    When the committee fails on many at once it is asked again with halves, down to single items. Raises ScorerError
    if every one fails.
    """
    views = committee.views(scorer_ids)
    batch = _gathered(images, prompts, {view for each in views.values() for view in each})
    scores: Scores = {scorer_id: np.full(len(images), np.nan, np.float32) for scorer_id in scorer_ids}
    broken: list[int] = []
    last: Exception | None = None
    todo = [(0, len(images))] if images else []
    while todo:
        start, stop = todo.pop()
        try:
            part = committee.score(batch if stop - start == len(batch) else batch.part(start, stop), scorer_ids)
        except Exception as error:
            last = error
            if stop - start == 1:
                broken.append(start)
            else:
                middle = (start + stop) // 2
                todo += [(middle, stop), (start, middle)]
            continue
        for scorer_id, values in _checked(part, scorer_ids, stop - start).items():
            scores[scorer_id][start:stop] = values
    if broken and len(broken) == len(images):
        raise ScorerError(f"the scorers failed on every picture ({type(last).__name__}: {last})") from last
    unseen = {
        scorer_id: {
            row: status for row, image in enumerate(images) for view in each if isinstance(status := image[view], str)
        }
        for scorer_id, each in views.items()
    }
    return Scored(scores, unseen, broken)


def _gathered(images: Sequence[dict[View, Seen]], prompts: Sequence[str], views: set[View]) -> Batch:
    pictures = {id(image): image for image in images}
    place = {key: row for row, key in enumerate(pictures)}
    words = list(dict.fromkeys(prompts))
    word = {prompt: row for row, prompt in enumerate(words)}
    return Batch(
        prompts=words,
        image_of=np.array([place[id(image)] for image in images], np.int64),
        prompt_of=np.array([word[prompt] for prompt in prompts], np.int64),
        images=len(pictures),
        views={view: _filled([image[view] for image in pictures.values()]) for view in views},
    )


def _filled(seen: list[Seen]) -> list[np.ndarray]:
    """Something of the right shape in the place of what a view could not show: its score is not used."""
    shown = [each for each in seen if not isinstance(each, str)]
    blank = np.zeros_like(shown[0]) if shown else np.zeros(0)
    return [blank if isinstance(each, str) else each for each in seen]


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
