"""Selecting: the right pairs in the right order, an immutable subset of them, and why a pair is in or out."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from embedded import embed_all
from hypothesis import given, settings
from hypothesis import strategies as st
from pickapic_factory import Row, write
from scored import score_all

from ranking.errors import EmptySubsetError, NotFoundError, StoreError, UnknownNameError, UsageError
from ranking.ingest import ingest
from ranking.names import sha256_file
from ranking.schema import SUBSET_PAIRS
from ranking.store.blobs import Store
from ranking.store.snapshots import Snapshot, create_snapshot
from ranking.subsets.catalog import get_subset, list_subsets, subset_pairs
from ranking.subsets.recipe import Recipe, parse_recipe
from ranking.subsets.select import create_subset, rank

# Margins by "sharp": cat 3 − 1 = 2, 3 − 0 = 3, tie, 0 − 1 = −1; dog 2 − 1 = 1; eel has an image without a score.
JUDGED = [
    Row("cat", "c3", "c1", winner=0, user=1),
    Row("cat", "c0", "c3", winner=1, user=1),
    Row("cat", "c0", "c1", winner=None, user=2),
    Row("cat", "c0", "c1", winner=0, user=3),
    Row("dog", "d2", "d1", winner=0, user=1, model_0="drawer-c"),
    Row("eel", "e1", "e?", winner=0, user=4),
]


def by_digit(uid: str) -> float | None:
    return None if uid.endswith("?") else float(uid[-1])


@pytest.fixture
def world(store: Store, tmp_path: Path) -> Snapshot:
    ingest(store, write(tmp_path / "pairs.parquet", JUDGED), "pets")
    return score_all(store, "pets", {"sharp@00000000": by_digit, "flat@00000000": lambda _: 1.0})


def recipe(**changes: Any) -> Recipe:
    base = {
        "name": "best",
        "dataset": "pets",
        "metric": {"name": "margin", "scorer": "sharp"},
        "take": {"percent": 100},
    }
    return parse_recipe(base | changes)


def winners(table: pa.Table) -> list[tuple[str, str]]:
    return list(zip(table["winner_uid"].to_pylist(), table["loser_uid"].to_pylist(), strict=True))


def test_pairs_are_ranked_by_the_metric_and_ties_and_unscored_pairs_left_out(store: Store, world: Snapshot) -> None:
    table = rank(store, world, recipe())
    assert winners(table) == [("c3", "c0"), ("c3", "c1"), ("d2", "d1"), ("c0", "c1")]
    assert table["metric"].to_pylist() == [3.0, 2.0, 1.0, -1.0]
    assert table["rank"].to_pylist() == [1, 2, 3, 4]
    assert set(table["label_source"].to_pylist()) == {"human"}
    assert rank(store, world, recipe(), limit=2).equals(table.slice(0, 2))


def test_from_the_bottom_the_lowest_metric_comes_first(store: Store, world: Snapshot) -> None:
    bottom = rank(store, world, recipe(take={"percent": 50, "from": "bottom"}))
    assert bottom["metric"].to_pylist() == [-1.0, 1.0, 2.0, 3.0]
    assert bottom["taken"].to_pylist() == [True, True, False, False]
    most = rank(store, world, recipe(take={"threshold": 2.0, "from": "bottom"}))
    assert most["taken"].to_pylist() == [True, True, True, False]


def test_random_labels_keep_the_pairs_and_toss_their_winners(store: Store, world: Snapshot) -> None:
    def tossed(seed: int) -> dict[str, str]:
        random = {"metric": {"name": "random"}, "labels": "random", "seed": seed}
        rows = rank(store, world, recipe(**random)).to_pylist()
        assert {row["label_source"] for row in rows} == {"random"}
        return {row["pair_id"]: row["winner_uid"] for row in rows}

    human = rank(store, world, recipe(metric={"name": "random"})).to_pylist()
    many = [tossed(seed) for seed in range(24)]
    assert all(set(each) == {row["pair_id"] for row in human} for each in many)  # the tie stays out
    assert tossed(0) == many[0]
    kept = sum(each[row["pair_id"]] == row["winner_uid"] for row in human for each in many)
    # 120 fair tosses: more than four standard deviations of √30 ≈ 5.5 away would be no toss.
    assert len(human) == 5 and abs(kept - 60) < 22


@pytest.mark.parametrize(
    ("take", "n"),
    [
        ({"percent": 50}, 2),
        ({"percent": 37.5}, 2),  # 1.5 of 4 eligible
        ({"percent": 0.1}, 1),
        ({"count": 3}, 3),
        ({"count": 99}, 4),
        ({"threshold": 1.0}, 3),
        ({"threshold": 2.5}, 1),
    ],
)
def test_take_counts_eligible_pairs(store: Store, world: Snapshot, take: dict[str, float], n: int) -> None:
    assert rank(store, world, recipe(take=take))["taken"].to_pylist() == [True] * n + [False] * (4 - n)


def test_equal_metrics_are_ordered_by_pair_id(store: Store, world: Snapshot) -> None:
    flat = rank(store, world, recipe(metric={"name": "margin", "scorer": "flat"}))
    assert set(flat["metric"].to_pylist()) == {0.0}
    assert flat["pair_id"].to_pylist() == sorted(flat["pair_id"].to_pylist())


def test_the_filter_goes_first_and_percent_counts_what_is_left(store: Store, world: Snapshot) -> None:
    cats = recipe(where={"field": "prompt", "value": "cat"}, take={"percent": 34})
    table = rank(store, world, cats)
    assert winners(table) == [("c3", "c0"), ("c3", "c1"), ("c0", "c1")]
    assert table["taken"].to_pylist() == [True, False, False]


def test_a_cap_per_prompt_lets_the_next_prompt_in(store: Store, world: Snapshot) -> None:
    table = rank(store, world, recipe(per_prompt={"max": 1}, take={"count": 2}))
    assert table["taken"].to_pylist() == [True, False, True, False]
    assert table["rank"].to_pylist() == [1, 2, 3, 4]


def test_relabelling_turns_pairs_round_gives_ties_a_winner_and_drops_what_is_equal(
    store: Store, world: Snapshot
) -> None:
    table = rank(store, world, recipe(labels={"relabel": "sharp"}))
    assert winners(table)[:2] == [("c3", "c0"), ("c3", "c1")]
    assert sorted(winners(table)[2:]) == [("c1", "c0"), ("c1", "c0"), ("d2", "d1")]
    assert set(table["label_source"].to_pylist()) == {"relabel:sharp"}
    assert rank(store, world, recipe(labels={"relabel": "flat"})).num_rows == 0


def test_filters_see_the_human_labels_even_when_relabelling(store: Store, world: Snapshot) -> None:
    table = rank(store, world, recipe(labels={"relabel": "sharp"}, where={"field": "is_tie", "value": True}))
    assert winners(table) == [("c1", "c0")]


def test_a_subset_holds_the_taken_pairs_best_first(store: Store, world: Snapshot) -> None:
    subset = create_subset(store, recipe(per_prompt={"max": 1}, take={"count": 2}), world)
    pairs = subset_pairs(store, subset)
    assert pairs.schema.equals(SUBSET_PAIRS)
    assert winners(pairs) == [("c3", "c0"), ("d2", "d1")]
    assert pairs["rank"].to_pylist() == [1, 2]
    assert (subset.rows, subset.dataset, subset.snapshot.sha) == (2, "pets", world.sha)
    assert subset.sha256 == sha256_file(store.local(subset.pairs_key))
    assert list(store.tmp().iterdir()) == []


def test_the_same_recipe_on_the_same_snapshot_is_the_same_subset(store: Store, world: Snapshot) -> None:
    first = create_subset(store, recipe(), world)
    assert create_subset(store, recipe(), world) == first
    assert list_subsets(store) == [first]


def test_a_subset_is_the_same_to_the_byte_on_another_machine(store: Store, world: Snapshot, tmp_path: Path) -> None:
    for normalize in ("sigmoid", "prompt-z"):
        spec = recipe(metric={"name": "qsd", "scorer": "sharp", "normalize": normalize})
        other = Store.open(tmp_path / f"elsewhere-{normalize}")
        ingest(other, tmp_path / "pairs.parquet", "pets")
        score_all(other, "pets", {"late@00000000": by_digit})  # a different history
        there = create_subset(store, spec, world)
        again = create_subset(store, spec, create_snapshot(store))
        assert again == there
    twin = Store.open(tmp_path / "twin")
    ingest(twin, tmp_path / "pairs.parquet", "pets")
    snapshot = score_all(twin, "pets", {"sharp@00000000": by_digit, "flat@00000000": lambda _: 1.0})
    assert snapshot.sha == world.sha
    assert create_subset(twin, spec, snapshot).ref == there.ref


def test_another_recipe_or_snapshot_is_another_version_and_latest_is_the_newest(store: Store, world: Snapshot) -> None:
    first = create_subset(store, recipe(), world)
    second = create_subset(store, recipe(take={"count": 1}), world)
    snapshot = score_all(store, "pets", {"new@00000000": by_digit})
    third = create_subset(store, recipe(), snapshot)
    assert len({first.version, second.version, third.version}) == 3
    assert get_subset(store, "best@latest") == get_subset(store, "best") == third
    assert get_subset(store, first.ref) == first
    assert list_subsets(store) == [first, second, third]


def test_statistics_compare_the_dataset_with_the_subset(store: Store, world: Snapshot) -> None:
    statistics = create_subset(store, recipe(take={"count": 3}), world).statistics
    before, after = statistics["before"], statistics["after"]
    assert statistics["eligible"] == 4
    assert (before["pairs"], before["prompts"], before["ties"], before["raters"]) == (6, 3, 1, 4)
    assert (after["pairs"], after["prompts"], after["ties"], after["raters"]) == (3, 2, 0, 1)
    assert before["models"] == {"drawer-a": 5, "drawer-b": 6, "drawer-c": 1}
    assert before["gaps"]["sharp"] == pytest.approx((2 + 3 - 1 + 1) / 4)
    assert after["gaps"]["sharp"] == pytest.approx(2.0)
    assert before["agreement"] == {"flat": None, "sharp": 0.75}
    assert after["agreement"]["sharp"] == 1.0
    assert before["winners"]["sharp"] == pytest.approx((3 + 3 + 0 + 2 + 1) / 5)  # of eel's images one has a score
    # Pairs of the three prompts: 4, 1, 1; then 2, 1.
    assert (before["effective_prompts"], after["effective_prompts"]) == (36 / 18, 9 / 5)
    assert statistics["coverage"] == {"prompts": 2 / 3, "prompt_clusters": 2 / 3, "raters": 1 / 4, "models": 1.0}
    (gaps,) = [each for each in statistics["histograms"] if (each["of"], each["name"]) == ("gap", "sharp")]
    assert (gaps["edges"][0], gaps["edges"][-1], len(gaps["edges"])) == (-3.0, 3.0, 21)
    # Bins of 0.3: −1 is in the seventh, 1 in the fourteenth, 2 in the seventeenth, 3 in the last.
    assert [(place, n) for place, n in enumerate(gaps["before"]) if n] == [(6, 1), (13, 1), (16, 1), (19, 1)]
    assert [(place, n) for place, n in enumerate(gaps["after"]) if n] == [(13, 1), (16, 1), (19, 1)]


def test_weights_and_fields_of_the_recipe_are_described(store: Store, world: Snapshot) -> None:
    spec = recipe(weights={"field": "sharp.gap", "low": 0.5, "high": 2.0})
    statistics = create_subset(store, spec, world).statistics
    # Gaps 3, 2, 1, −1 make weights 2, 2, 1, ½: (Σ w)² / Σ w² = 5.5² / 9.25.
    assert statistics["after"]["effective_pairs"] == pytest.approx(5.5**2 / 9.25)
    assert statistics["after"]["fields"] == {"sharp.gap": pytest.approx(5 / 4)}
    assert statistics["stages"] == {
        "pairs": 6,
        "left": {"flags": 6, "labels": 5, "weights": 4, "metric": 4},
        "eligible": 4,
        "want": 4,
        "capped": {},
        "taken": 4,
    }
    with pytest.raises(UsageError, match=r"weights: sharp\.gap is not positive for 1 of the pairs"):
        create_subset(store, recipe(weights="sharp.gap"), world)


def test_soft_labels_turn_a_pair_round_and_say_how_sure_they_are(store: Store, world: Snapshot) -> None:
    # The field stands in for a probability: 1 for labels for image 0, else 0.
    spec = recipe(labels={"soft": "label_0"}, where={"field": "is_tie", "value": False}, metric={"name": "random"})
    found = rank(store, world, spec)
    human = {row["pair_id"]: row for row in rank(store, world, recipe(metric={"name": "random"})).to_pylist()}
    for row in found.to_pylist():
        assert (row["preference"], row["label_source"]) == (1.0, "soft:label_0")
        turned = row["winner_uid"] == human[row["pair_id"]]["loser_uid"]
        # Only where image 1 won, to which the field gives no chance.
        assert turned is (human[row["pair_id"]]["winner_uid"] == "c3" and row["winner_uid"] == "c0")
    with pytest.raises(UsageError, match=r"labels\.soft: sharp\.0 is no probability, 2 pairs"):
        rank(store, world, recipe(labels={"soft": "sharp.0"}, metric={"name": "random"}))


@pytest.mark.parametrize(
    ("where", "said"),
    [
        (
            {"and": [{"field": "sharp.gap", "op": "gte", "value": 2}, {"field": "sharp.gap", "op": "lt", "value": 2}]},
            r"where\.and\[0\] wants sharp\.gap ≥ 2 and where\.and\[1\] wants sharp\.gap < 2",
        ),
        (
            {"and": [{"field": "rater", "value": "1"}, {"not": {"field": "rater", "op": "isnull", "value": False}}]},
            r"where\.and\[0\] wants rater = 1 and where\.and\[1\]\.not wants rater is null",
        ),
        (
            {"and": [{"field": "rater", "op": "in", "value": ["1", "2"]}, {"and": [{"field": "rater", "value": "3"}]}]},
            r"where\.and\[0\] wants .* and where\.and\[1\]\.and\[0\] wants rater = 3",
        ),
        ({"field": "sharp.gappp", "value": 1}, r"where: unknown field 'sharp\.gappp'; did you mean sharp\.gap"),
        ({"and": [{"field": "is_tie", "value": 3}]}, r"where\.and\[0\]: 3 cannot be compared with is_tie"),
    ],
)
def test_filters_that_cannot_be_are_refused_with_their_places(
    store: Store, world: Snapshot, where: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        rank(store, world, recipe(where=where))
    fine = {"and": [{"field": "sharp.gap", "op": "gte", "value": 2}, {"field": "sharp.gap", "op": "lte", "value": 2}]}
    assert rank(store, world, recipe(where=fine)).num_rows == 1


def test_a_scorer_that_scored_only_another_dataset_is_named_with_what_to_do(
    store: Store, world: Snapshot, tmp_path: Path
) -> None:
    ingest(store, write(tmp_path / "others.parquet", [Row("owl", "o2", "o1")]), "owls")
    snapshot = score_all(store, "owls", {"late@00000000": by_digit})
    for changes, place in (
        ({"metric": {"name": "margin", "scorer": "late"}}, "metric"),
        ({"labels": {"vote": ["sharp", "late"]}}, "labels"),
        ({"where": {"field": "late.gap", "op": "gt", "value": 0}}, "where"),
        ({"weights": "late.0"}, "weights"),
    ):
        with pytest.raises(UsageError, match=f"{place}: late has scored nothing of pets in snapshot 2; .*flat, sharp"):
            rank(store, snapshot, recipe(**changes))
    unscored = recipe(where={"field": "late.status_0", "value": "unscored"})
    assert rank(store, snapshot, unscored).num_rows == 4


def test_an_embedding_of_another_dataset_only_is_refused(store: Store, world: Snapshot, tmp_path: Path) -> None:
    ingest(store, write(tmp_path / "others.parquet", [Row("owl", "o2", "o1"), Row("bat", "b1", "b2")]), "owls")
    score_all(store, "owls", {"sharp@00000000": by_digit})
    embed_all(store)
    snapshot = create_snapshot(store)
    diverse = {"diversity": {"embedding": "clip-l14"}, "take": {"count": 2}}
    assert rank(store, snapshot, recipe(**diverse)).num_rows == 4
    for changes, place in (
        (diverse, "diversity"),
        ({"metric": {"name": "fifa", "scorer": "sharp", "embedding": "clip-l14"}}, "metric"),
    ):
        with pytest.raises(UsageError, match=f"{place}: clip-l14 has embedded nothing of owls in snapshot"):
            rank(store, snapshot, recipe(dataset="owls", **changes))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"where": {"field": "prompt", "value": "yak"}}, "0 pass where, 0 pass flags, .*; widen `where`"),
        ({"labels": {"vote": ["flat"]}}, "6 pass flags, 0 pass labels"),
        ({"take": {"threshold": 9.0}}, "4 pass metric, none reaches the threshold 9.0; widen `take`"),
    ],
)
def test_an_empty_result_says_at_which_stage_everything_went(
    store: Store, world: Snapshot, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(EmptySubsetError, match=said):
        create_subset(store, recipe(**changes), world)


@pytest.mark.parametrize(
    "changes",
    [
        {"where": {"field": "sharp.gap", "op": "gt", "value": 100}},
        {"take": {"threshold": 100}},
        {"labels": {"relabel": "flat"}},
    ],
)
def test_a_recipe_that_selects_nothing_is_an_error_with_the_counts(
    store: Store, world: Snapshot, changes: dict[str, Any]
) -> None:
    with pytest.raises(EmptySubsetError, match="of 6 pairs in pets") as caught:
        create_subset(store, recipe(**changes), world)
    assert caught.value.exit_code == 1
    assert store.list("subsets") == [] and list(store.tmp().iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metric": {"name": "qsdd", "scorer": "sharp"}}, "did you mean qsd"),
        ({"metric": {"name": "qsd", "scorer": "shrap"}}, "did you mean sharp"),
        ({"labels": {"relabel": "flta"}}, "did you mean flat"),
        ({"where": {"field": "sharp.gapp", "value": 1}}, r"did you mean sharp\.gap"),
        ({"dataset": "petz"}, "did you mean pets"),
    ],
)
def test_unknown_names_are_refused_before_anything_is_done(
    store: Store, world: Snapshot, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UnknownNameError, match=message):
        create_subset(store, recipe(**changes), world)
    assert store.list("subsets") == store.list("wide") == []


def test_a_damaged_subset_is_not_handed_out(store: Store, world: Snapshot) -> None:
    subset = create_subset(store, recipe(), world)
    path = store.local(subset.pairs_key)
    data = bytearray(path.read_bytes())
    data[50] ^= 1
    path.write_bytes(data)
    with pytest.raises(StoreError, match="damaged"):
        subset_pairs(store, subset)


def test_subsets_that_do_not_exist_are_said_so(store: Store, world: Snapshot) -> None:
    with pytest.raises(UnknownNameError, match="no subset yet"):
        get_subset(store, "best@latest")
    subset = create_subset(store, recipe(), world)
    with pytest.raises(UnknownNameError, match="did you mean best"):
        get_subset(store, "bset")
    with pytest.raises(NotFoundError, match=subset.version):
        get_subset(store, "best@000000000000")
    for bad in ("best@newest", "best@", "Best", "best@../../x", ""):
        with pytest.raises(UsageError):
            get_subset(store, bad)


@settings(max_examples=8)
@given(
    scores=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 2)), min_size=1, max_size=12),
    cap=st.none() | st.integers(1, 3),
    count=st.integers(1, 8),
)
def test_what_is_taken_is_what_a_plain_sort_takes(
    tmp_path_factory: pytest.TempPathFactory, scores: list[tuple[int, int, int]], cap: int | None, count: int
) -> None:
    folder = tmp_path_factory.mktemp("select")
    store = Store.open(folder / "store")
    judged = [Row(f"prompt {p}", f"i{n}-{a}", f"j{n}-{b}") for n, (a, b, p) in enumerate(scores)]
    ingest(store, write(folder / "a.parquet", judged), "pets")
    snapshot = score_all(store, "pets", {"sharp@00000000": by_digit})
    spec = recipe(take={"count": count}, **({"per_prompt": {"max": cap}} if cap else {}))
    found = subset_pairs(store, create_subset(store, spec, snapshot)).to_pylist()

    ids = {row["winner_uid"]: row["pair_id"] for row in rank(store, snapshot, recipe()).to_pylist()}
    ordered = sorted(
        ((b - a, ids[f"i{n}-{a}"], p) for n, (a, b, p) in enumerate(scores)), key=lambda one: (one[0], one[1])
    )
    expected: list[str] = []
    used: dict[int, int] = {}
    for _, pair_id, prompt in ordered:
        used[prompt] = used.get(prompt, 0) + 1
        if (cap is None or used[prompt] <= cap) and len(expected) < count:
            expected.append(pair_id)
    assert [row["pair_id"] for row in found] == expected
