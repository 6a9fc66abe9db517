"""What other labels say of a pair: integrals by brute force, and that no label ever comes back to its own pair."""

import numpy as np
import pytest
from judgements import evidence
from scipy.stats import norm

from ranking.confidence.messages import graph_of, listen

CHAIN = [(0, 1, 0), (1, 2, 0), (3, 2, 1)]
TRIANGLE = [(0, 1, 0), (1, 2, 0), (0, 2, 1), (2, 3, 0)]
AGAIN = [(0, 1, 0), (1, 0, 0), (0, 1, 0), (1, 2, 1)]


def _told(pairs: list[tuple[int, int, int]], spread: float = 1.0, lapse: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    found = listen(
        graph_of(evidence(pairs)), offset=np.zeros(len(pairs)), spread=spread, lapse=np.full(len(pairs), lapse)
    )
    return found.mean, found.variance


@pytest.mark.parametrize("pairs", [CHAIN, TRIANGLE, AGAIN])
def test_a_pairs_own_label_does_not_enter_what_it_is_told(pairs: list[tuple[int, int, int]]) -> None:
    for place, (first, second, winner) in enumerate(pairs):
        turned = [*pairs[:place], (first, second, 1 - winner), *pairs[place + 1 :]]
        for before, after in zip(_told(pairs), _told(turned), strict=True):
            assert after[place] == pytest.approx(before[place], abs=1e-12)
        assert _told(turned)[0] != pytest.approx(_told(pairs)[0], abs=1e-3)


def test_a_neighbours_label_moves_a_pair_as_the_integral_says() -> None:
    # Item 0 beat item 1; what of 1 against 2? All three have quality N(0, 1), the rater lapses in a tenth.
    quality = np.random.default_rng(0).normal(0, 1, (2_000_000, 3))
    weight = 0.1 + 0.8 * norm.cdf(quality[:, 0] - quality[:, 1])
    expected = np.average(quality[:, 1] - quality[:, 2], weights=weight)
    mean, variance = _told([(0, 1, 0), (1, 2, -1)])
    assert mean[1] == pytest.approx(expected, abs=0.01)
    spread = np.average((quality[:, 1] - quality[:, 2] - expected) ** 2, weights=weight)
    assert variance[1] == pytest.approx(spread, abs=0.02)


def test_the_same_images_judged_again_speak_of_the_difference_itself() -> None:
    mean, variance = _told([(0, 1, 0), (1, 0, 1), (0, 1, -1)])
    # Both say image 0: so for the tie, whose own label says nothing, and half as much for each of the two.
    assert mean[2] > mean[0] > 0
    assert mean[0] == pytest.approx(-mean[1])
    assert variance[2] < variance[0] < 2


def test_images_that_met_no_other_have_what_their_scores_say() -> None:
    mean, variance = _told([(0, 1, 0), (102, 103, 1)])
    assert mean == pytest.approx([0, 0])
    assert variance == pytest.approx([2, 2])
