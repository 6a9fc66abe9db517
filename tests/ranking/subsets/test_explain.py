"""Why a pair is in or out: the stage that decided, in words with numbers, and what would turn it round."""

from typing import Any

import pytest
from pickapic_factory import Row, write
from scored import score_all

from ranking.errors import NotFoundError
from ranking.ingest import ingest
from ranking.store.blobs import Store
from ranking.store.snapshots import Snapshot
from ranking.subsets.explain import Explanation
from ranking.subsets.recipe import parse_recipe
from ranking.subsets.select import explain, rank, selected_pairs

# Margins by "sharp": cat 9 − 1 = 8, 7 − 0 = 7, 6 − 0 = 6, a tie; dog 5 − 0 = 5, 3 − 0 = 3; eel has an image without a
# score. "flat" tells nothing apart.
JUDGED = [
    Row("cat", "c9", "c1", winner=0, user=1),
    Row("cat", "a0", "c7", winner=1, user=2),
    Row("cat", "c6", "b0", winner=0, user=1),
    Row("cat", "c0", "c1", winner=None, user=2),
    Row("dog", "d5", "d0", winner=0, user=1),
    Row("dog", "d3", "e0", winner=0, user=3),
    Row("eel", "e1", "e?", winner=0, user=4),
]


def by_digit(uid: str) -> float | None:
    return None if uid.endswith("?") else float(uid[-1])


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Snapshot, dict[str, str]]:
    folder = tmp_path_factory.mktemp("explain")
    store = Store.open(folder / "store")
    ingest(store, write(folder / "pairs.parquet", JUDGED), "pets")
    snapshot = score_all(store, "pets", {"sharp@00000000": by_digit, "flat@00000000": lambda _: 1.0})
    everything = rank(store, snapshot, recipe(labels="human", metric={"name": "random"}))
    ids = dict(zip(everything["winner_uid"].to_pylist(), everything["pair_id"].to_pylist(), strict=True))
    tie = rank(store, snapshot, recipe(labels={"relabel": "sharp"}, where={"field": "is_tie", "value": True}))
    return store, snapshot, ids | {"tie": tie["pair_id"][0].as_py()}


def recipe(**changes: Any) -> Any:
    base = {
        "name": "best",
        "dataset": "pets",
        "metric": {"name": "margin", "scorer": "sharp"},
        "take": {"percent": 100},
    }
    return parse_recipe(base | changes)


World = tuple[Store, Snapshot, dict[str, str]]


def told(world: World, pair: str, **changes: Any) -> Explanation:
    store, snapshot, ids = world
    return explain(store, snapshot, recipe(**changes), pair_id=ids[pair])


def test_a_pair_that_is_taken_says_its_place(world: World) -> None:
    found = told(world, "c7", take={"count": 3})
    assert (found.taken, found.rank, found.metric, found.eligible, found.stage) == (True, 2, 7.0, 5, "take")
    assert found.reason == "taken: its margin 7 ranks 2 of 5, and it is number 2 of 3 in the subset"
    assert found.change == "it stays in until fewer than 2 are taken"
    assert found.inputs == {"winner": 1, "sharp.0": 0.0, "sharp.1": 7.0, "chosen": 1}


@pytest.mark.parametrize(
    ("take", "change"),
    [
        ({"count": 3}, "raise take.count to 4"),
        ({"percent": 60}, "raise take.percent to 80"),
        ({"threshold": 5.5}, "lower take.threshold to 5.0"),
    ],
)
def test_a_pair_below_the_end_says_where_that_is_and_what_to_take(
    world: World, take: dict[str, float], change: str
) -> None:
    found = told(world, "d5", take=take)
    assert (found.taken, found.rank, found.stage) == (False, 4, "take")
    assert found.reason == "its margin 5 ranks 4 of 5; the take ends at rank 3, 6"
    assert found.change == change
    key, value = change.split()[1].removeprefix("take."), float(change.split()[-1])
    assert told(world, "d5", take={key: int(value) if key == "count" else value}).taken


def test_a_pair_whose_group_is_full_says_which_and_what_it_takes_to_get_in(world: World) -> None:
    found = told(world, "c6", per_prompt={"max": 1})
    assert (found.taken, found.rank, found.stage) == (False, 3, "per_prompt.max")
    assert found.reason == "its margin 6 ranks 3 of 5, but its prompt already has 1 better pair"
    assert found.change == "raise per_prompt.max to 3"
    assert told(world, "c6", per_prompt={"max": 3}).taken and not told(world, "c6", per_prompt={"max": 2}).taken


def test_a_cap_and_a_take_that_are_both_too_small_are_both_named(world: World) -> None:
    found = told(world, "c6", per_prompt={"max": 1}, take={"count": 2})
    assert found.change == "raise per_prompt.max to 3 and raise take.count to 3"
    assert told(world, "c6", per_prompt={"max": 3}, take={"count": 3}).taken


def test_a_share_that_is_too_small_is_told_as_a_share(world: World) -> None:
    found = told(world, "c6", balance={"rater": {"share": 0.2}})
    assert found.reason == "its margin 6 ranks 3 of 5, but its rater already has 1 better pair"
    assert found.change == "raise balance.rater.share to 0.4"
    assert told(world, "c6", balance={"rater": {"share": 0.4}}).taken


def test_no_advice_is_given_that_would_not_help(world: World) -> None:
    found = told(world, "c6", per_prompt={"max": 1}, balance={"rater": {"max": 1}})
    assert (found.stage, found.change) == ("per_prompt.max", "")


def test_a_pair_that_the_filter_leaves_out_is_told_the_comparison(world: World) -> None:
    where = {"and": [{"field": "prompt", "value": "cat"}, {"field": "sharp.gap", "op": "gte", "value": 7.5}]}
    found = told(world, "c6", where=where)
    assert (found.taken, found.stage, found.rank) == (False, "where", None)
    assert found.reason == ("the filter leaves it out at where.and[1]: sharp.gap is 6, and sharp.gap ≥ 7.5 is wanted")
    assert found.change == "loosen where.and[1] to sharp.gap ≥ 6.0"
    both = told(world, "d5", where=where)
    assert "where.and[0]: prompt is 'dog', and prompt = cat is wanted; at where.and[1]" in both.reason
    either = told(world, "d5", where={"or": where["and"]})
    assert "where.or[0]" in either.reason and "where.or[1]" in either.reason
    negated = told(world, "c6", where={"not": {"field": "rater", "op": "in", "value": ["1", "9"]}})
    assert "where.not: rater is '1', and rater in ['1', '9'] is not" in negated.reason


def test_a_pair_without_winner_weight_or_metric_is_told_why(world: World) -> None:
    assert told(world, "tie").reason == "it has no winner by human labels: the rater called it a tie"
    flat = told(world, "c9", labels={"relabel": "flat"})
    assert flat.reason == "it has no winner by relabel:flat labels: flat gives both images 1"
    vote = told(world, "c9", labels={"vote": ["flat"]})
    assert vote.reason == "it has no winner by vote labels: 0 of 1 scorers prefer image 0 and 0 image 1"
    missing = told(world, "e1")
    assert (missing.stage, missing.metric) == ("metric", None)
    assert missing.reason == "it has no metric: sharp has no score for image 1 (missing)"
    weightless = told(world, "e1", weights="sharp.gap", metric={"name": "random"})
    assert (weightless.stage, weightless.reason) == ("weights", "it has no weight: sharp.gap is null")


def test_what_is_told_is_what_is_selected(world: World) -> None:
    store, snapshot, ids = world
    spec = {"per_prompt": {"max": 1}, "balance": {"rater": {"max": 2}}, "take": {"count": 2}}
    taken = selected_pairs(store, snapshot, recipe(**spec))["pair_id"].to_pylist()
    assert {pair for pair in ids if told(world, pair, **spec).taken} == {"c9", "d5"}
    assert taken == [ids["c9"], ids["d5"]]


def test_a_pair_that_is_not_there_is_an_error(world: World) -> None:
    store, snapshot, _ = world
    with pytest.raises(NotFoundError, match="no pair"):
        explain(store, snapshot, recipe(), pair_id="0" * 16)
