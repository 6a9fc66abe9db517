"""Selection against a few lines of plain Python that walk through the pairs one by one."""

import json
from collections import Counter
from decimal import ROUND_CEILING, ROUND_HALF_UP, Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pickapic_factory import Row, write
from scored import score_all

from ranking.features.pairs import PairTable
from ranking.ingest import ingest
from ranking.store.blobs import Store
from ranking.subsets import selection
from ranking.subsets.caps import admit
from ranking.subsets.recipe import parse_recipe
from ranking.subsets.select import create_subset, explain, rank, selected_pairs

PAIRS = 160


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> PairTable:
    """Pairs of few prompts, raters and models, by scorers with few values: groups fill up and metrics are equal."""
    rng = np.random.default_rng(5)
    folder = tmp_path_factory.mktemp("brute")
    store = Store.open(folder / "store")
    judged = [
        Row(
            f"prompt {rng.integers(12)}",
            f"i{n}-{rng.integers(10)}",
            f"j{n}-{rng.integers(10)}",
            winner=[0, 1, None][rng.choice(3, p=[0.5, 0.4, 0.1])],
            user=int(rng.integers(5)),
            model_0=f"m{rng.integers(3)}",
            model_1=f"m{rng.integers(3)}",
        )
        for n in range(PAIRS)
    ]
    ingest(store, write(folder / "pairs.parquet", judged), "pets")
    scorers = {
        "a@00000000": lambda uid: None if uid.endswith("0") else float(uid[-1]),
        "b@00000000": lambda uid: float(sum(map(ord, uid)) % 4),
        "c@00000000": lambda uid: float(sum(map(ord, uid)) % 7),
    }
    return PairTable(store, score_all(store, "pets", scorers), "pets")


caps = (
    st.none()
    | st.builds(lambda n: {"max": n}, st.integers(1, 6))
    | st.builds(lambda share: {"share": share}, st.sampled_from([0.04, 0.1, 0.25, 0.5, 1.0]))
)
recipes = st.fixed_dictionaries(
    {
        "metric": st.sampled_from(
            [{"name": "margin", "scorer": "a"}, {"name": "margin", "scorer": "b"}, {"name": "random"}]
        ),
        "take": st.sampled_from(
            [
                *({"count": count} for count in (1, 25, 500)),
                *({"percent": percent} for percent in (12.5, 100)),
                *({"count": 20, "from": "bottom"}, {"threshold": 0.0, "from": "bottom"}, {"threshold": 1.0}),
            ]
        ),
        "labels": st.sampled_from(
            ["human", "random", {"relabel": "b"}, {"vote": ["a", "b", "c"]}, {"vote": ["b", "c"], "ties": "human"}]
        ),
        "where": st.sampled_from([None, {"field": "c.gap", "op": "gte", "value": -2}, {"field": "b.0", "value": 3}]),
        "per_prompt": caps,
        "rater": caps,
        "winner_model": caps,
        "models": caps,
    }
)


def spec(drawn: dict[str, Any]) -> Any:
    balance = {name: drawn[name] for name in ("rater", "winner_model", "models") if drawn[name]}
    plain = {name: drawn[name] for name in ("metric", "take", "labels", "where", "per_prompt") if drawn[name]}
    return parse_recipe({"name": "x", "dataset": "pets", **plain, **({"balance": balance} if balance else {})})


def by_hand(table: PairTable, drawn: dict[str, Any]) -> list[tuple[str, str]]:
    """(pair_id, winner) of the taken pairs, best first; the metric random is read from a ranking of all pairs."""
    sign = -1 if drawn["take"].get("from") == "bottom" else 1
    ranked = []
    for row in pq.read_table(table.path).to_pylist():
        chosen = _chosen(table, row, drawn["labels"])
        if not _passes(row, drawn["where"]) or chosen is None:
            continue
        scorer = drawn["metric"].get("scorer")
        if scorer is None:
            metric = _random(row["pair_id"])
        elif row[f"{scorer}.0"] is None or row[f"{scorer}.1"] is None:
            continue
        else:
            metric = row[f"{scorer}.{chosen}"] - row[f"{scorer}.{1 - chosen}"]
        ranked.append((-sign * metric, row["pair_id"], chosen, row))
    ranked.sort(key=lambda each: each[:2])
    take = drawn["take"]
    want = min(take.get("count", len(ranked)), len(ranked))
    if "percent" in take:
        exact = Decimal(str(take["percent"])) * len(ranked) / 100
        want = min(max(1, int(exact.quantize(Decimal(1), rounding=ROUND_HALF_UP))), len(ranked))
    if "threshold" in take:
        want = sum(
            sign * -each[0] >= take["threshold"] if sign > 0 else each[0] <= take["threshold"] for each in ranked
        )
    taken: list[tuple[str, str]] = []
    used: Counter[Any] = Counter()
    for _, pair_id, chosen, row in ranked:
        groups = {
            "per_prompt": row["prompt_id"],
            "rater": row["rater"],
            "winner_model": row[f"model_{chosen}"],
            "models": tuple(sorted([row["model_0"], row["model_1"]])),
        }
        full = [name for name in groups if drawn[name] and used[name, groups[name]] >= _most(drawn[name], want)]
        if full or len(taken) == want:
            continue
        used.update(groups.items())
        taken.append((pair_id, row[f"image_{chosen}_uid"]))
    return taken


def _most(cap: dict[str, Any], want: int) -> int:
    share = Decimal(str(cap.get("share", 0))) * want
    return cap.get("max") or max(1, int(share.to_integral_value(ROUND_CEILING)))


def _passes(row: dict[str, Any], where: dict[str, Any] | None) -> bool:
    if where is None:
        return True
    value = row[where["field"]]
    return value is not None and (value >= -2 if where.get("op") else value == 3)


def _random(pair_id: str, text: str = "0") -> float:
    from hashlib import sha256

    return int(sha256(f"{text}:{pair_id}".encode()).hexdigest()[:12], 16) / 2**48


def _chosen(table: PairTable, row: dict[str, Any], labels: Any) -> int | None:
    human: int | None = row["winner"]
    if labels == "human":
        return human
    if labels == "random":
        return None if human is None else int(_random(row["pair_id"], "labels:0") * 2**48) % 2
    votes = 0
    for scorer in labels.get("vote", [labels.get("relabel")]):
        first, second = row[f"{scorer}.0"], row[f"{scorer}.1"]
        if first is not None and second is not None:
            votes += (first > second) - (first < second)
    if votes:
        return 0 if votes > 0 else 1
    return human if labels.get("ties") == "human" else None


@settings(max_examples=8)
@given(drawn=recipes, sample=st.sampled_from([8, 65_536]), place_of_one=st.integers(0, PAIRS))
def test_what_is_selected_previewed_and_explained_is_what_a_walk_through_the_pairs_takes(
    table: PairTable, drawn: dict[str, Any], sample: int, place_of_one: int
) -> None:
    expected = by_hand(table, drawn)
    if not expected:
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(selection, "_SAMPLE", sample)
        patch.setattr(selection, "_SPARE", 0)  # so that few pairs are put in order at first, and often too few
        found = selected_pairs(table.store, table.snapshot, spec(drawn), table=table)
        assert list(zip(found["pair_id"].to_pylist(), found["winner_uid"].to_pylist(), strict=True)) == expected
        assert found["rank"].to_pylist() == list(range(1, len(expected) + 1))
        preview = rank(table.store, table.snapshot, spec(drawn), table=table)
        taken = preview.filter(preview["taken"])
        assert taken["pair_id"].to_pylist() == [pair_id for pair_id, _ in expected]
        short = rank(table.store, table.snapshot, spec(drawn), table=table, limit=7)
        assert short.equals(preview.slice(0, 7))
        assert json.loads(preview.schema.metadata[b"stages"])["taken"] == len(expected)
        for pair_id in preview["pair_id"].to_pylist()[place_of_one % preview.num_rows :][:1]:
            told = explain(table.store, table.snapshot, spec(drawn), pair_id=pair_id, table=table)
            place = preview["pair_id"].to_pylist().index(pair_id)
            assert (told.taken, told.rank) == (preview["taken"][place].as_py(), place + 1)
            assert told.metric == preview["metric"][place].as_py()


@settings(max_examples=60)
@given(
    groups=st.lists(st.tuples(st.integers(-1, 3), st.integers(-1, 4), st.integers(-1, 2)), min_size=1, max_size=60),
    most=st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 9)),
    cut=st.integers(0, 60),
)
def test_rounds_over_blocks_let_in_whom_a_walk_lets_in(
    groups: list[tuple[int, int, int]], most: tuple[int, int, int], cut: int
) -> None:
    used: list[Counter[int]] = [Counter(), Counter(), Counter()]
    expected = []
    for row in groups:
        full = [i for i, group in enumerate(row) if group >= 0 and used[i][group] >= most[i]]
        expected.append(full[0] if full else -1)
        if not full:
            for i, group in enumerate(row):
                used[i][group] += 1
    counts = [np.zeros(6, np.int64) for _ in most]
    found = []
    for block in (groups[:cut], groups[cut:]):
        if block:
            found += admit(list(np.array(block, np.int64).T), most, counts).tolist()
    assert found == expected


def test_the_same_bytes_come_out_of_one_two_and_four_threads(table: PairTable) -> None:
    drawn = {
        "metric": {"name": "qsd", "scorer": "c", "normalize": "sigmoid"},
        "take": {"percent": 40},
        "labels": {"vote": ["a", "b", "c"]},
        "per_prompt": {"max": 8},
        "balance": {"rater": {"share": 0.3}},
        "weights": "c.0",
        "where": {"field": "c.0", "op": "gt", "value": 0},
    }
    recipe = parse_recipe({"name": "x", "dataset": "pets", **drawn})
    subsets = [
        create_subset(table.store, recipe, table.snapshot, table=table, threads=threads) for threads in (1, 2, 4)
    ]
    assert len({subset.ref for subset in subsets}) == 1
    told = []
    for threads in (1, 2, 4):
        with selection.selecting(table, recipe, threads=threads) as found:
            rows = found.con.sql("FROM ordered ORDER BY place").to_arrow_table()
            told.append((rows, found.left, found.capped()))
    assert all(each[0].equals(told[0][0]) and each[1:] == told[0][1:] for each in told)
    assert isinstance(told[0][0], pa.Table)
