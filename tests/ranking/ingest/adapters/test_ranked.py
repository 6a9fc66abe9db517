"""Groups taken apart: every pair of a group once, and labels that follow the larger number."""

from itertools import combinations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ranking.ingest.adapters.ranked import all_pairs, labels


@given(st.lists(st.integers(0, 6), max_size=6))
def test_all_pairs_are_those_of_a_plain_loop(sizes: list[int]) -> None:
    first, second = all_pairs(np.array(sizes, dtype=np.int64))
    expected, start = [], 0
    for size in sizes:
        expected += list(combinations(range(start, start + size), 2))
        start += size
    assert list(zip(first.tolist(), second.tolist(), strict=True)) == expected


def test_the_larger_number_wins_equal_ones_tie_and_a_missing_one_gives_no_label() -> None:
    found = labels(np.array([2.0, 1.0, 3.0, np.nan]), np.array([1.0, 2.0, 3.0, 1.0]))
    assert [side.to_pylist() for side in found] == [[1.0, 0.0, 0.5, None], [0.0, 1.0, 0.5, None]]
