"""How different images of one prompt are."""

import numpy as np
import pytest

from training.evaluation.diversity import diversity, prompt_distances
from training.evaluation.winrates import ByPrompt


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def test_the_distance_is_the_mean_over_all_pairs_of_a_prompt() -> None:
    vectors = unit(np.random.default_rng(0).normal(size=(7, 5)))
    prompts = ["a", "b", "a", "b", "a", "c", "a"]
    found = prompt_distances(vectors, ByPrompt.of(prompts))
    for place, name in enumerate("ab"):
        mine = [vectors[i].astype(float) for i, prompt in enumerate(prompts) if prompt == name]
        pairs = [1 - x @ y for i, x in enumerate(mine) for y in mine[i + 1 :]]
        assert found[place] == pytest.approx(np.mean(pairs), rel=1e-6)
    assert np.isnan(found[2])


def test_a_model_that_draws_one_picture_over_and_over_is_seen() -> None:
    rng = np.random.default_rng(1)
    prompts = [f"p{i // 4}" for i in range(80)]
    base = unit(np.repeat(rng.normal(size=(20, 8)), 4, axis=0) + 0.5 * rng.normal(size=(80, 8)))
    collapsed = np.repeat(base[::4], 4, axis=0)
    found = diversity("clip", base, collapsed, prompts)
    assert found is not None and found.run.value == pytest.approx(0, abs=1e-6)
    assert found.change.high < 0 and found.change.value == pytest.approx(-found.base.value)
    same = diversity("clip", base, base, prompts)
    assert same is not None and same.change.low == same.change.high == 0


def test_single_images_have_no_variety_to_speak_of() -> None:
    vectors = unit(np.ones((2, 3)))
    assert diversity("clip", vectors, vectors, ["a", "b"]) is None
