"""A committee whose scores can be worked out by hand: red plus the prompt's length, and green minus it."""

from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

from workers import canary
from workers.scorers.base import Batch, Embeddings, View

REDDER = "redder@00000000aaaa"
GREENER = "greener@00000000bbbb"


def mean_colour(image: Image.Image) -> np.ndarray:
    return np.asarray(image, np.float64).mean((0, 1))


MEAN = View("fake_committee:mean_colour")


class FakeCommittee:
    """Notes how much it was asked at once; `hook(prompts)` may raise before each answer but those to the canary."""

    embedding_ids: tuple[str, ...] = ()
    batch = 64
    device = "cpu"
    golden: tuple[float, ...] = ()

    def __init__(
        self,
        scorer_ids: tuple[str, ...] = (REDDER, GREENER),
        hook: Callable[[list[str]], None] | None = None,
    ) -> None:
        self.scorer_ids = {scorer_id.partition("@")[0]: scorer_id for scorer_id in scorer_ids}
        self.calls: list[int] = []
        self._hook = hook

    def views(self, scorer_ids: Sequence[str]) -> dict[str, tuple[View, ...]]:
        return dict.fromkeys(scorer_ids, (MEAN,))

    def score(self, batch: Batch, scorer_ids: Sequence[str]) -> dict[str, np.ndarray]:
        if tuple(batch.prompts) != canary.PROMPTS:
            self.calls.append(len(batch))
            if self._hook is not None:
                self._hook(batch.item_prompts())
        rgb = np.stack(batch.view(MEAN))[batch.image_of]
        length = np.array([len(prompt) for prompt in batch.item_prompts()], np.float64)
        all_scores = {REDDER: rgb[:, 0] + length, GREENER: rgb[:, 1] - length}
        return {scorer_id: all_scores[scorer_id] for scorer_id in scorer_ids if scorer_id in all_scores}

    def precision_of(self, scorer_id: str) -> str:
        return "float32"

    def golden_of(self, scorer_id: str) -> tuple[float, ...]:
        return self.golden

    def embed(self, batch: Batch, embedding_id: str) -> Embeddings:
        raise AssertionError("it has none")
