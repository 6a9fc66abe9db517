"""Which pairs a step sees, and how they are dealt out."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.data.order import Order, Visit

counts, sizes, seeds = st.integers(1, 60), st.integers(1, 24), st.integers(0, 2**32 - 1)


@given(counts, sizes, seeds)
def test_every_epoch_sees_every_pair_exactly_once(count: int, size: int, seed: int) -> None:
    order = Order(count, size=size, seed=seed)
    seen = [visit for step in range(-(-3 * count // size)) for visit in order.at(step)]
    for epoch in range(3):
        visits = seen[epoch * count : (epoch + 1) * count]
        assert sorted(visit.pair for visit in visits) == list(range(count))
        assert {visit.number for visit in visits} == {epoch}


def test_an_epoch_has_an_order_of_its_own_and_the_seed_fixes_it() -> None:
    def epochs(seed: int) -> list[list[int]]:
        order = Order(50, size=50, seed=seed)
        return [[visit.pair for visit in order.at(step)] for step in range(3)]

    assert epochs(1) == epochs(1) != epochs(2)
    assert len({tuple(epoch) for epoch in [*epochs(1), *epochs(2), list(range(50))]}) == 7


@given(counts, sizes, seeds, st.integers(0, 40))
def test_resume_restarts_the_epoch(count: int, size: int, seed: int, step: int) -> None:
    """diffusers' scripts begin the epoch anew; here a step is the same whether those before it were taken or not."""
    whole = Order(count, size=size, seed=seed)
    before = [whole.at(number) for number in range(step + 1)]
    assert Order(count, size=size, seed=seed).at(step) == before[step]


@given(counts, st.integers(1, 6), st.integers(1, 4), st.integers(1, 4), seeds, st.integers(1, 5))
def test_a_step_is_the_same_for_any_number_of_processes_and_forward_passes(
    count: int, batch: int, accumulate: int, processes: int, seed: int, shapes: int
) -> None:
    size = batch * accumulate * processes
    buckets = np.random.default_rng(seed).integers(0, shapes, count)
    order = Order(count, size=size, seed=seed, buckets=buckets)
    for step in range(3):
        dealt = order.passes(step, batch, processes=processes)
        assert Counter(v for rank in dealt for visits in rank for v in visits) == Counter(order.at(step))
        assert order.at(step) == Order(count, size=size, seed=seed).at(step)
        # Each has as many, or processes that reduce their gradients together would wait for ever.
        assert len(dealt) == processes and len({len(rank) for rank in dealt}) == 1
        for visits in (visits for rank in dealt for visits in rank):
            assert 1 <= len(visits) <= batch
            assert len({buckets[visit.pair] for visit in visits}) == 1


@given(counts, st.integers(1, 6), st.integers(1, 4), st.integers(1, 4), seeds)
def test_without_buckets_every_forward_pass_is_full(
    count: int, batch: int, accumulate: int, processes: int, seed: int
) -> None:
    order = Order(count, size=batch * accumulate * processes, seed=seed)
    dealt = order.passes(1, batch, processes=processes)
    assert [[len(visits) for visits in rank] for rank in dealt] == [[batch] * accumulate] * processes


def test_pairs_that_cannot_be_dealt_out_are_refused() -> None:
    with pytest.raises(ValueError, match="3 pairs cannot be dealt out to 2"):
        Order(9, size=3, seed=0).passes(0, 1, processes=2)


@given(st.integers(2, 12), st.integers(1, 6), seeds)
def test_pairs_that_are_compared_are_of_different_prompts_where_that_can_be(prompts: int, each: int, seed: int) -> None:
    """With as many pairs of each prompt, any neighbours up to the number of prompts are of different ones."""
    of = np.random.default_rng(seed).permutation(np.repeat(np.arange(prompts), each))
    epoch = [visit.pair for visit in Order(len(of), size=len(of), seed=seed, prompts=of).at(0)]
    assert sorted(epoch) == list(range(len(of)))
    for start in range(len(of) - prompts + 1):
        assert len({of[pair] for pair in epoch[start : start + prompts]}) == prompts


@given(st.lists(st.integers(0, 9), min_size=2, max_size=60), seeds)
def test_spreading_over_prompts_leaves_out_nothing(prompts: list[int], seed: int) -> None:
    order = Order(len(prompts), size=len(prompts), seed=seed, prompts=np.array(prompts))
    assert sorted(visit.pair for visit in order.at(0)) == list(range(len(prompts)))
    assert order.at(1) != [Visit(visit.pair, 1) for visit in order.at(0)] or len(prompts) < 8


def test_a_prompt_with_many_pairs_is_spread_evenly_over_the_epoch() -> None:
    of = np.array([0] * 10 + list(range(1, 91)))
    epoch = [visit.pair for visit in Order(100, size=100, seed=3, prompts=of).at(0)]
    places = [place for place, pair in enumerate(epoch) if of[pair] == 0]
    # A tenth of the epoch apart, give or take what chance puts between two of them.
    assert all(2 <= after - before <= 25 for before, after in pairwise(places))
