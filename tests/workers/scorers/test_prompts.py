"""Prompts go through a text tower once, and what is remembered of them stays within its bytes."""

from collections.abc import Sequence

import pytest
import torch

from workers.scorers.prompts import PromptCache


class Tower:
    """Gives each prompt its length, four times, and notes what it was asked."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    def __call__(self, prompts: Sequence[str]) -> torch.Tensor:
        self.asked.append(list(prompts))
        return torch.tensor([[float(len(prompt))] * 4 for prompt in prompts])


def test_a_prompt_goes_through_the_tower_once_and_rows_keep_their_order() -> None:
    tower = Tower()
    cache = PromptCache(tower)
    assert cache(["aaa", "b", "aaa"])[:, 0].tolist() == [3, 1, 3]
    assert cache(["cc", "b"])[:, 0].tolist() == [2, 1]
    assert tower.asked == [["aaa", "b"], ["cc"]]


def test_the_prompt_not_seen_for_longest_is_forgotten_first() -> None:
    tower = Tower()
    cache = PromptCache(tower, bytes_kept=2 * 4 * 4)
    cache(["a", "bb"])
    cache(["a"])
    cache(["ccc"])
    assert len(cache) == 2
    cache(["a"])
    cache(["bb"])
    assert tower.asked == [["a", "bb"], ["ccc"], ["bb"]]


def test_more_prompts_than_there_is_room_for_are_still_answered() -> None:
    cache = PromptCache(Tower(), bytes_kept=0)
    assert cache(["a", "bb", "a"])[:, 0].tolist() == [1, 2, 1]
    assert len(cache) == 0


def test_a_remembered_row_does_not_keep_its_batch_alive() -> None:
    cache = PromptCache(Tower())
    cache([f"prompt {i}" for i in range(50)])
    (row,) = cache.rows(["prompt 7"])
    assert row.untyped_storage().nbytes() == row.nbytes


def test_a_tower_that_loses_a_prompt_is_an_error() -> None:
    cache = PromptCache(lambda prompts: torch.zeros(1, 4))
    with pytest.raises(ValueError, match="shorter"):
        cache(["a", "b"])
