"""What two subsets share: pairs, order, winners, recipe and statistics."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pickapic_factory import Row, write
from scored import score_all

from ranking.ingest import ingest
from ranking.store.blobs import Store
from ranking.subsets.catalog import Subset
from ranking.subsets.compare import Change, compare, inversions
from ranking.subsets.recipe import parse_recipe
from ranking.subsets.select import create_subset


@pytest.fixture(scope="module")
def subsets(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, dict[str, Subset]]:
    """Five pairs with margins 1 to 5 by "up" and 5 to 1 by "down", which also prefers the other image of the last."""
    folder = tmp_path_factory.mktemp("compare")
    store = Store.open(folder / "store")
    judged = [Row(f"prompt {n // 2}", f"w{n}", f"l{n}") for n in range(1, 6)]
    ingest(store, write(folder / "pairs.parquet", judged), "pets")

    def up(uid: str) -> float:
        return float(uid[1]) if uid[0] == "w" else 0.0

    def down(uid: str) -> float:
        return 6 - float(uid[1]) if (uid[0] == "w") is (uid[1] != "5") else 0.0

    snapshot = score_all(store, "pets", {"up@00000000": up, "down@00000000": down})

    def made(name: str, **changes: Any) -> Subset:
        base = {"name": name, "dataset": "pets", "metric": {"name": "margin", "scorer": "up"}, "take": {"count": 4}}
        return create_subset(store, parse_recipe(base | changes), snapshot)

    backwards = {"name": "margin", "scorer": "down"}
    return store, {
        "up": made("up"),
        "down": made("down", metric=backwards, per_prompt={"max": 9}),
        "relabelled": made("relabelled", labels={"relabel": "down"}, take={"percent": 100}),
        "one": made("one", take={"count": 1}),
    }


def test_overlap_order_and_recipe_are_compared(subsets: tuple[Store, dict[str, Subset]]) -> None:
    store, made = subsets
    found = compare(store, made["up"], made["down"])
    # up takes 5 4 3 2, down 1 2 3 4: three in common, in opposite order.
    assert (found.common, found.only_a, found.only_b, found.rows) == (3, 1, 1, (4, 4))
    assert (found.jaccard, found.overlap) == (3 / 5, 3 / 4)
    assert (found.spearman, found.kendall) == (-1.0, -1.0)
    assert (found.flipped, found.common_prompts, found.snapshots) == (0, 2, None)
    assert found.recipe == (
        Change("metric.scorer", "up", "down"),
        Change("name", "up", "down"),
        Change("per_prompt", None, {"max": 9}),
    )
    assert found.statistics["gaps.up"] == ((5 + 4 + 3 + 2) / 4, (1 + 2 + 3 + 4) / 4)


def test_flipped_winners_are_counted(subsets: tuple[Store, dict[str, Subset]]) -> None:
    store, made = subsets
    assert compare(store, made["up"], made["relabelled"]).flipped == 1


def test_a_subset_equals_itself_and_one_pair_has_no_order(subsets: tuple[Store, dict[str, Subset]]) -> None:
    store, made = subsets
    same = compare(store, made["up"], made["up"])
    assert (same.jaccard, same.spearman, same.kendall, same.recipe) == (1.0, 1.0, 1.0, ())
    assert compare(store, made["one"], made["up"]).kendall is None


@given(order=st.integers(0, 40).flatmap(lambda n: st.permutations(range(n))))
def test_inversions_are_those_of_counting_every_pair(order: list[int]) -> None:
    expected = sum(a > b for place, a in enumerate(order) for b in order[place + 1 :])
    assert inversions(np.array(order, np.int64)) == expected
