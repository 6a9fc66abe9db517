"""Cycles of wins: exactly the edges that a search finds its way back from."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ranking.graph.cycles import on_cycles

EDGES = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)).filter(lambda e: e[0] != e[1]), max_size=30)


@given(EDGES)
def test_an_edge_is_on_a_cycle_if_its_loser_reaches_its_winner(edges: list[tuple[int, int]]) -> None:
    reach = np.eye(8, dtype=bool)
    for winner, loser in edges:
        reach[winner, loser] = True
    for middle in range(8):  # Warshall
        reach |= np.outer(reach[:, middle], reach[middle])
    array = np.array(edges, np.int64).reshape(-1, 2)
    assert on_cycles(array[:, 0], array[:, 1]).tolist() == [bool(reach[loser, winner]) for winner, loser in edges]


def test_a_chain_300000_long_is_no_trouble() -> None:
    line = np.arange(300_000)
    assert not on_cycles(line, line + 1).any()
    assert on_cycles(line, (line + 1) % 300_000).all()
