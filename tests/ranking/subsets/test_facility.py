"""Facility location: against every subset there is, against a greedy choice written down plainly, and its bounds."""

from fractions import Fraction
from itertools import combinations
from math import e

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ranking.subsets import facility
from ranking.subsets.facility import Similar, locate, similarities
from ranking.subsets.vectors import SIDE, centre, nearest, on_grid


def drawn(n: int, d: int, seed: int = 0) -> np.ndarray:
    made = np.random.default_rng(seed).standard_normal((n, d))
    return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float16)


def clustered(n: int, d: int, clusters: int, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    made = drawn(clusters, d, seed)[random.integers(clusters, size=n)] + 0.5 / np.sqrt(d) * random.standard_normal(
        (n, d)
    )
    return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float16)


def whole(grid: np.ndarray) -> list[list[int]]:
    products = np.clip(grid.astype(np.int64) @ grid.astype(np.int64).T, 0, SIDE**2)
    np.fill_diagonal(products, SIDE**2)
    return products.tolist()


def objective(chosen: list[int], like: list[list[int]], embedding: list[int], take: int, weight: Fraction) -> Fraction:
    n = len(embedding)
    worth = [Fraction(2 * (n - i) - 1, 2) for i in range(n)]
    shown = [embedding[i] for i in chosen if embedding[i] >= 0]
    known = [j for j in embedding if j >= 0]
    covered = sum(max((like[u][j] for u in shown), default=0) for j in known)
    quality = sum(worth[i] for i in chosen) / sum(worth[:take])
    return (1 - weight) * quality + weight * Fraction(covered, max(1, len(known)) * SIDE**2)


@given(
    seed=st.integers(0, 10_000),
    embedding=st.lists(st.integers(-1, 4), min_size=1, max_size=9),
    take=st.integers(1, 4),
    tenths=st.integers(0, 10),
)
def test_the_choice_is_the_plain_greedy_one_and_near_the_best_subset(
    seed: int, embedding: list[int], take: int, tenths: int
) -> None:
    grid = centre(on_grid(drawn(5, 3, seed)), np.ones(5, np.int64))
    like, weight, take = whole(grid), Fraction(tenths, 10), min(take, len(embedding))
    located = locate(similarities(grid), np.array(embedding), take=take, weight=tenths / 10)
    greedy: list[int] = []
    while len(greedy) < take:
        rest = [i for i in range(len(embedding)) if i not in greedy]
        greedy.append(max(rest, key=lambda i: (objective([*greedy, i], like, embedding, take, weight), -i)))
    reached = objective(greedy, like, embedding, take, weight)
    # Floats may break a tie of exact fractions the other way, so values are compared, and the order where it is clear.
    assert float(objective(located.order.tolist(), like, embedding, take, weight)) == pytest.approx(float(reached))
    assert located.objective == pytest.approx(float(reached))
    best = max(
        objective(list(some), like, embedding, take, weight) for some in combinations(range(len(embedding)), take)
    )
    assert (1 - 1 / e) * float(best) - 1e-9 <= located.objective <= float(best) + 1e-9 <= 1 + 2e-9


def test_quality_alone_takes_the_best_and_coverage_alone_one_of_each_cluster() -> None:
    corners = np.eye(4)[[0, 0, 0, 1, 1, 2, 3]].astype(np.float16)
    similar = similarities(on_grid(corners))
    assert locate(similar, np.arange(7), take=4, weight=0.0).order.tolist() == [0, 1, 2, 3]
    # The largest clusters first, the best of each.
    located = locate(similar, np.arange(7), take=4, weight=1.0)
    assert located.order.tolist() == [0, 3, 5, 6]
    assert located.gains.tolist() == pytest.approx([3 / 7, 0, 0, 2 / 7, 0, 1 / 7, 1 / 7])
    assert (located.coverage, located.objective, located.left_out) == (pytest.approx(1.0), pytest.approx(1.0), 0.0)


def test_the_second_pair_of_a_prompt_gains_no_coverage_and_one_without_an_embedding_only_quality() -> None:
    similar = similarities(on_grid(np.eye(2, dtype=np.float16)))
    located = locate(similar, np.array([0, 0, -1, 1]), take=4, weight=0.5)
    # Qualities 3.5, 2.5, 1.5, 0.5 of 8; coverage of three pairs: 2/3 by the first, 1/3 by the last.
    # Gains: 0.5·(3.5/8) + 0.5·(2/3), then 0.5·(0.5/8) + 0.5/3 = 0.198 before 0.5·(2.5/8) = 0.156 and 0.094.
    assert located.order.tolist() == [0, 3, 1, 2]
    assert located.gains.tolist() == pytest.approx([2 / 3, 0, 0, 1 / 3])


def test_the_nearest_are_those_of_brute_force_itself_always_among_them() -> None:
    grid = on_grid(clustered(2100, 12, 30))
    grid[:40] = grid[0]  # more equal rows than are asked for
    products = grid.astype(np.int64) @ grid.astype(np.int64).T
    for first, columns, values in nearest(grid, 5):
        for row, (names, found) in enumerate(zip(columns, values, strict=True), start=first):
            assert row in names and len(set(names.tolist())) == 5
            others = np.delete(products[row], row)
            assert sorted(found[names != row].tolist()) == sorted(others.tolist())[-4:]


def test_similarities_that_are_left_out_cost_no_more_than_their_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    n, take, weight = 1500, 150, 0.5
    grid = centre(on_grid(clustered(n, 24, 60)), np.ones(n, np.int64))
    exact = locate(similarities(grid), np.arange(n), take=take, weight=weight)
    for dense, block in ((1000, 2000), (500, 400)):
        monkeypatch.setattr(facility, "DENSE", dense)
        monkeypatch.setattr(facility, "BLOCK", block)
        located = locate(similarities(grid, seed=3), np.arange(n), take=take, weight=weight)
        covered = np.array(whole(grid))[located.order].max(axis=0).mean() / SIDE**2
        reached = (1 - weight) * located.quality + weight * covered
        # What is said to be reached is reached and more; with one block, no more than the bound was left out.
        assert located.objective <= reached <= 1
        if located.left_out is not None:
            assert reached <= located.objective + weight * located.left_out
            assert located.objective >= (1 - 1 / e) * (exact.objective - weight * located.left_out)
        else:
            assert block == 400
        # Seen, not promised: near the exact greedy choice.
        assert reached > 0.97 * exact.objective


def test_blocks_hold_every_row_once_and_the_seed_divides_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facility, "BLOCK", 100)
    grid = on_grid(drawn(730, 6))
    blocks = facility._blocks(grid, seed=1)
    assert sorted(np.concatenate(blocks).tolist()) == list(range(730))
    assert max(map(len, blocks)) <= 100
    other = facility._blocks(grid, seed=2)
    assert [block.tolist() for block in blocks] != [block.tolist() for block in other]


def test_nothing_similar_and_nothing_embedded_are_no_errors() -> None:
    nothing = Similar(np.zeros(1, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32), None)
    assert locate(nothing, np.array([-1, -1, -1]), take=2, weight=0.3).order.tolist() == [0, 1]
    empty = similarities(np.zeros((0, 0), np.float32))
    assert locate(empty, np.array([], np.int64), take=5, weight=0.3).order.tolist() == []
