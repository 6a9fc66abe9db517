"""Near-duplicate prompts: what belongs together, what does not, and that nothing depends on the order."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ranking.graph.prompts import GRAM, SIMILARITY, clusters, normalised


def groups(prompts: list[str]) -> tuple[list[int], list[int]]:
    same, near = clusters(pa.array(prompts, pa.string()))
    return same.tolist(), near.tolist()


def similarity(a: str, b: str) -> float:
    """The Jaccard similarity of two prompts' sets of 5-grams of bytes."""
    sets = []
    for text in normalised(pa.array([a, b])).to_pylist():
        data = text.encode()
        sets.append({data[i : i + GRAM] for i in range(max(1, len(data) - GRAM + 1))})
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("A Cat", "a  cat"),
        ("a cat, sitting.", "a cat sitting"),
        ("ﬁne café", "fine cafe\u0301"),  # a ligature and a combining accent
        ("x\ny", "X y"),
    ],
)
def test_case_spaces_and_punctuation_do_not_matter(first: str, second: str) -> None:
    assert groups([first, second, "something else"]) == ([0, 0, 2], [0, 0, 2])


def test_words_and_numbers_do() -> None:
    same, _ = groups(["a cat", "a bat", "a cat 2", "дом", "дым"])
    assert same == [0, 1, 2, 3, 4]


def test_no_prompt_at_all_and_only_punctuation_are_no_trouble() -> None:
    assert groups([]) == ([], [])
    assert groups(["", "?!", "a"]) == ([0, 0, 2], [0, 0, 2])


def test_what_is_joined_is_similar_and_what_is_similar_is_joined() -> None:
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("abcdefghijklmnop"), 6)) for _ in range(300)]
    prompts = [" ".join(rng.choice(words, 12)) for _ in range(200)]
    edited = [" ".join([*prompt.split(" ")[:-1], str(rng.choice(words))]) for prompt in prompts]
    _, near = groups(prompts + edited)
    wanted = [similarity(a, b) >= SIMILARITY for a, b in zip(prompts, edited, strict=True)]
    joined = [near[i] == near[200 + i] for i in range(200)]
    assert all(w for w, j in zip(wanted, joined, strict=True) if j)
    # 12 bands of 4 rows meet at least 96 % of such pairs; the worst of 200 is far above 90 %.
    assert sum(joined) >= 0.9 * sum(wanted) > 150
    assert len(set(near[:200])) == 200


def test_thousands_with_the_same_stock_phrase_stay_apart() -> None:
    rng = np.random.default_rng(1)
    stock = ", highly detailed, digital painting, artstation, concept art"
    heads = ["".join(rng.choice(list("abcdefghijklmnopqrstuvwxyz "), 90)) for _ in range(3000)]
    _, near = groups([head + stock for head in heads])
    assert len(set(near)) == 3000


@given(st.lists(st.text(max_size=30), max_size=20), st.randoms(use_true_random=False))
def test_groups_do_not_depend_on_the_order(prompts: list[str], random: object) -> None:
    shuffled = list(enumerate(prompts))
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    _, near = groups(prompts)
    _, again = groups([prompt for _, prompt in shuffled])
    partition = {frozenset(i for i in range(len(prompts)) if near[i] == name) for name in near}
    regrouped = {frozenset(shuffled[i][0] for i in range(len(prompts)) if again[i] == name) for name in again}
    assert partition == regrouped
