"""A committee whose scores can be worked out by hand: red plus the prompt's length, and green minus it."""

from collections.abc import Callable

import numpy as np
from PIL import Image

REDDER = "redder@00000000aaaa"
GREENER = "greener@00000000bbbb"


class FakeCommittee:
    """Notes how much it was asked at once; `hook(prompts)` may raise before each answer."""

    def __init__(
        self,
        scorer_ids: tuple[str, ...] = (REDDER, GREENER),
        hook: Callable[[list[str]], None] | None = None,
    ) -> None:
        self.scorer_ids = {scorer_id.partition("@")[0]: scorer_id for scorer_id in scorer_ids}
        self.calls: list[int] = []
        self._hook = hook

    def score(self, images: list[Image.Image], prompts: list[str]) -> dict[str, np.ndarray]:
        self.calls.append(len(images))
        if self._hook is not None:
            self._hook(prompts)
        rgb = np.array([np.asarray(image, np.float64).mean((0, 1)) for image in images]).reshape(-1, 3)
        length = np.array([len(prompt) for prompt in prompts], np.float64)
        all_scores = {REDDER: rgb[:, 0] + length, GREENER: rgb[:, 1] - length}
        return {scorer_id: all_scores[scorer_id] for scorer_id in self.scorer_ids.values()}
