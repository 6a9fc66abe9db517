"""The stage between batcher and writer: pictures and prompts go through the committee, and what comes back is checked.

One picture that a scorer cannot take must cost one row; a scorer that cannot take anything must cost the
attempt, not fill the store with failures.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ranking.errors import PairsieveError
from ranking.schema import CRASH
from workers.engine.decoding import Seen
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
    def batch(self) -> int:
        """How many images suit its device at once."""

    @property
    def device(self) -> str:
        """Where it runs, as torch names it."""

    def precision_of(self, scorer_id: str) -> str:
        """What a scorer's towers run in: float32, float16 or bfloat16."""

    def golden_of(self, scorer_id: str) -> Sequence[float]:
        """What a scorer should give for the golden pairs of workers.canary, or nothing where nobody said."""

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
class Vectors:
    """Embeddings of items' images and prompts, float32 of shape (items, d); NaN where there is none."""

    image: npt.NDArray[np.float32]
    prompt: npt.NDArray[np.float32]


@dataclass(frozen=True)
class Scored:
    """`scores` by scorer id, float32 of shape (items,), NaN where there is none; `unseen`, by scorer id, the items
    whose picture one of its views could not show, with the status; `broken`, the items that the scorers failed on, and
    `errors`, why they failed, each time; `vectors` by embedding id."""

    scores: Scores
    unseen: dict[str, dict[int, str]]
    broken: list[int]
    vectors: dict[str, Vectors]
    errors: list[str] = field(default_factory=list)

    def failed(self, scorer_id: str, rows: Sequence[int]) -> dict[int, str]:
        """The items without a score by a scorer, item i being called `rows[i]`, with their status; what is not finite
        not among them."""
        failed = {rows[place]: CRASH for place in self.broken}
        return failed | {rows[place]: status for place, status in self.unseen[scorer_id].items()}

    @property
    def items(self) -> int:
        """How many."""
        return max((len(scores) for scores in self.scores.values()), default=0)


def score_batch(
    committee: Committee,
    scorer_ids: Sequence[str],
    images: Sequence[dict[View, Seen]],
    prompts: Sequence[str],
    *,
    embedding_ids: Sequence[str] = (),
) -> Scored:
    """Scores of items, item i being image i with prompt i; an image of several items is the same object. With them the
    embeddings that are asked for, each with its scorer.

    Where the committee fails on many at once it is asked again with halves, down to single items.
    """
    views = committee.views(scorer_ids)
    scored = Scored({scorer_id: np.full(len(images), np.nan, np.float32) for scorer_id in scorer_ids}, {}, [], {})
    for scorer_id, each in views.items():
        seen = ((row, image[view]) for row, image in enumerate(images) for view in each)
        scored.unseen[scorer_id] = {row: status for row, status in seen if isinstance(status, str)}
    embedder = wanted_embeddings(embedding_ids, scorer_ids)
    for rows, able in _alike(scored.unseen, scorer_ids, len(images)):
        batch = _gathered(
            [images[row] for row in rows],
            [prompts[row] for row in rows],
            {view for scorer_id in able for view in views[scorer_id]},
        )
        ids = [embedding_id for embedding_id, scorer_id in embedder.items() if scorer_id in able]
        _halve(committee, batch, np.array(rows), able, ids, scored)
    return scored


def wanted_embeddings(embedding_ids: Sequence[str], scorer_ids: Sequence[str]) -> dict[str, str]:
    """The embeddings that come with these scorers at no cost of their own, each with its scorer."""
    by_fingerprint = {scorer_id.partition("@")[2]: scorer_id for scorer_id in scorer_ids}
    with_scorer = {each: by_fingerprint.get(each.partition("@")[2]) for each in embedding_ids}
    return {each: scorer_id for each, scorer_id in with_scorer.items() if scorer_id is not None}


def _alike(
    unseen: dict[str, dict[int, str]], scorer_ids: Sequence[str], items: int
) -> Iterator[tuple[list[int], list[str]]]:
    """Items by the scorers that can see them: nearly always one group."""
    groups: dict[tuple[str, ...], list[int]] = {}
    for row in range(items):
        groups.setdefault(tuple(each for each in scorer_ids if row not in unseen[each]), []).append(row)
    for able, rows in groups.items():
        if able:
            yield rows, list(able)


def _halve(
    committee: Committee,
    batch: Batch,
    rows: npt.NDArray[np.int64],
    scorer_ids: Sequence[str],
    embedding_ids: Sequence[str],
    scored: Scored,
) -> None:
    """Write what the committee gives for a batch, whose items are `rows` of `scored`, there."""
    todo = [(0, len(batch))]
    while todo:
        start, stop = todo.pop()
        part = batch if stop - start == len(batch) else batch.part(start, stop)
        try:
            values = committee.score(part, scorer_ids)
            embedded = {each: committee.embed(part, each) for each in embedding_ids}
        except Exception as error:
            scored.errors.append(f"{type(error).__name__}: {error}")
            if stop - start == 1:
                scored.broken.append(int(rows[start]))
            else:
                middle = (start + stop) // 2
                todo += [(middle, stop), (start, middle)]
            continue
        for scorer_id, checked in _checked(values, scorer_ids, stop - start).items():
            scored.scores[scorer_id][rows[start:stop]] = checked
        for embedding_id, found in embedded.items():
            _check_rows(found, part, embedding_id)
            if embedding_id not in scored.vectors:
                none = np.full((scored.items, found.image.shape[1]), np.nan, np.float32)
                scored.vectors[embedding_id] = Vectors(none, none.copy())
            scored.vectors[embedding_id].image[rows[start:stop]] = found.image[part.image_of]
            scored.vectors[embedding_id].prompt[rows[start:stop]] = found.prompt[part.prompt_of]


def _gathered(images: Sequence[dict[View, Seen]], prompts: Sequence[str], views: set[View]) -> Batch:
    pictures = {id(image): image for image in images}
    place = {key: row for row, key in enumerate(pictures)}
    words = list(dict.fromkeys(prompts))
    word = {prompt: row for row, prompt in enumerate(words)}
    arrays = {view: [image[view] for image in pictures.values()] for view in views}
    return Batch(
        prompts=words,
        image_of=np.array([place[id(image)] for image in images], np.int64),
        prompt_of=np.array([word[prompt] for prompt in prompts], np.int64),
        images=len(pictures),
        views={view: [each for each in seen if not isinstance(each, str)] for view, seen in arrays.items()},
    )


def _check_rows(found: Embeddings, part: Batch, embedding_id: str) -> None:
    shapes = (found.image.shape, found.prompt.shape)
    if [shape[0] for shape in shapes] != [part.images, len(part.prompts)] or shapes[0][1:] != shapes[1][1:]:
        wanted = f"{part.images} images and {len(part.prompts)} prompts"
        raise ScorerError(f"{embedding_id} returned vectors of shapes {shapes[0]} and {shapes[1]} for {wanted}")


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
