"""Pareto fronts: by hand, and against the definition."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ranking.features import pareto
from ranking.features.pareto import fronts


def test_fronts_of_six_images_worked_by_hand() -> None:
    # (3, 1) and (1, 3) beat each other in one score each; (2, 1) loses to (3, 1) alone, (1, 1) to (2, 1) as well, and
    # (1, 1) has an equal. The last lacks a score.
    scores = np.array([[3, 1], [1, 3], [2, 1], [1, 1], [1, 1], [9, np.nan]])
    assert fronts(scores, np.zeros(6, np.int64)).tolist() == [1, 1, 2, 3, 3, 0]


def test_images_are_compared_within_their_group_only() -> None:
    scores = np.array([[1.0], [2.0], [3.0], [4.0]])
    assert fronts(scores, np.array([7, 5, 7, 5])).tolist() == [2, 2, 1, 1]
    assert fronts(np.zeros((3, 0)), np.zeros(3, np.int64)).tolist() == [0, 0, 0], "without scorers nothing compares"
    assert fronts(np.zeros((0, 2)), np.zeros(0, np.int64)).tolist() == []


def defined(scores: list[list[int]]) -> list[int]:
    """Fronts as the definition has them: take off what nobody left dominates, again and again."""
    found, left, front = [0] * len(scores), set(range(len(scores))), 0

    def beats(a: list[int], b: list[int]) -> bool:
        return all(x >= y for x, y in zip(a, b, strict=True)) and a != b

    while left:
        front += 1
        best = {j for j in left if not any(beats(scores[i], scores[j]) for i in left)}
        for j in best:
            found[j] = front
        left -= best
    return found


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.lists(st.integers(0, 3), min_size=3, max_size=3)), max_size=25))
def test_fronts_are_those_of_the_definition(rows: list[tuple[int, list[int]]]) -> None:
    groups = np.array([group for group, _ in rows], np.int64)
    scores = np.array([each for _, each in rows], np.float64).reshape(len(rows), 3)
    expected = np.zeros(len(rows), int)
    for group in set(groups.tolist()):
        of = np.flatnonzero(groups == group)
        expected[of] = defined(scores[of].astype(int).tolist())
    assert fronts(scores, groups).tolist() == expected.tolist()


def test_a_long_chain_has_as_many_fronts_as_images_and_a_huge_group_is_left_alone() -> None:
    n = 300
    order = np.random.default_rng(0).permutation(n)
    chain = np.stack([order, order], axis=1).astype(np.float64)
    assert fronts(chain, np.zeros(n, np.int64)).tolist() == (n - order).tolist()
    many = np.zeros((pareto.MOST + 2, 1))
    groups = np.zeros(len(many), np.int64)
    groups[-1] = 1
    assert fronts(many, groups).tolist() == [0] * (len(many) - 1) + [1]
