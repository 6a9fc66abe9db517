"""One model over pictures and prompts together: parts, order, and each picture seen once."""

from collections.abc import Sequence

import numpy as np
import torch

from workers.scorers.base import Batch, View
from workers.scorers.joint import Joint
from workers.scorers.runtime import Runtime

VIEW = View("nowhere:nothing")
PROMPTS = ["1", "20", "300"]


class Model:
    """Adds a picture's only pixel to a prompt read as a number, with memory for so many items."""

    def __init__(self, room: int = 100) -> None:
        self.room = room
        self.seen: list[int] = []
        self.parts: list[int] = []

    def see(self, pictures: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        self.seen += [int(picture[0]) for picture in pictures]
        return [picture.float() for picture in pictures]

    def judge(self, pictures: Sequence[torch.Tensor], prompts: Sequence[str]) -> torch.Tensor:
        if len(prompts) > self.room:
            raise torch.OutOfMemoryError("full")
        self.parts.append(len(prompts))
        return torch.stack([seen[0] + float(prompt) for seen, prompt in zip(pictures, prompts, strict=True)])


def batch() -> Batch:
    """Nine items of four pictures, 1000 to 4000, of unequal sizes."""
    pictures = [np.full(3 + row, 1000 * (row + 1), np.int64) for row in range(4)]
    image_of, prompt_of = np.array([3, 0, 1, 3, 2, 0, 1, 0, 3]), np.array([0, 1, 2, 2, 1, 0, 0, 2, 1])
    return Batch(PROMPTS, image_of, prompt_of, len(pictures), {VIEW: pictures})


def expected() -> list[float]:
    items = batch()
    return [1000 * (i + 1) + float(PROMPTS[j]) for i, j in zip(items.image_of, items.prompt_of, strict=True)]


def test_scores_come_in_the_items_order_and_each_picture_is_seen_once_over_all_parts() -> None:
    for part in (1, 2, 4, 100):
        model = Model()
        scores = Joint(model.see, model.judge, Runtime(part=part), at_once=5)(batch(), batch().view(VIEW))
        assert scores.dtype == np.float32
        assert scores.tolist() == expected()
        assert sorted(model.seen) == [1000, 2000, 3000, 4000]
        assert max(model.parts) <= min(part, 5)


def test_memory_that_does_not_hold_a_part_halves_it_and_changes_no_score() -> None:
    model = Model(room=2)
    joint = Joint(model.see, model.judge, Runtime(part=8), at_once=8)
    assert joint(batch(), batch().view(VIEW)).tolist() == expected()
    assert max(model.parts) == 2
    assert joint(batch(), batch().view(VIEW)).tolist() == expected()
