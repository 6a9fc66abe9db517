"""Which judgements lie on a cycle: A beat B, B beat C, C beat A. At least one of those labels must be wrong, or
taste differs. Knows arrays only."""

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components


def on_cycles(winners: npt.NDArray[np.int64], losers: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """For each win (an edge from winner to loser, both numbered from 0) whether it is part of a directed cycle.

    An edge lies on a cycle exactly if both its ends are in one strongly connected component (Pearce's algorithm
    by SciPy, linear in the edges). Two opposite verdicts on one pair are a cycle of two.
    """
    if not len(winners):
        return np.zeros(0, bool)
    # Only nodes that both won and lost can be on a cycle: the rest, most of them, need not be in the graph.
    both = np.intersect1d(winners, losers)
    place_winner, place_loser = np.searchsorted(both, winners), np.searchsorted(both, losers)
    inside = _is_at(both, place_winner, winners) & _is_at(both, place_loser, losers)
    if not inside.any():
        return inside
    ends = place_winner[inside], place_loser[inside]
    graph = csr_array((np.ones(len(ends[0])), ends), shape=(len(both), len(both)))
    _, component = connected_components(graph, directed=True, connection="strong")
    result = np.zeros(len(winners), bool)
    result[inside] = component[ends[0]] == component[ends[1]]
    return result


def _is_at(
    values: npt.NDArray[np.int64], places: npt.NDArray[np.intp], wanted: npt.NDArray[np.int64]
) -> npt.NDArray[np.bool_]:
    found = places < len(values)
    found[found] = values[places[found]] == wanted[found]
    return found
