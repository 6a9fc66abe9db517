"""What the labels say of each other: by hand where a story shows it best, against a slow recount where numbers do."""

from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pickapic_factory import Row, rows, with_raw, write

from ranking.datasets import get_dataset
from ranking.graph.label_graph import graph_key, label_graph
from ranking.ingest import ingest
from ranking.schema import LABEL_GRAPH, MATCHES, RATERS
from ranking.store.blobs import Store


def graph_of(store: Store, judged: list[Row], folder: Path) -> list[dict[str, Any]]:
    """The label graph of these judgements, beside their pairs, one dictionary for each."""
    ingest(store, write(folder / "pairs.parquet", judged), "pets")
    return read(store)


def read(store: Store) -> list[dict[str, Any]]:
    dataset = get_dataset(store, "pets")
    graph = label_graph(store, dataset)
    table = pq.read_table(store.local(graph.pairs.file), partitioning=None)
    assert table.schema.equals(LABEL_GRAPH)
    pairs = [row for path in dataset.pairs_paths(store) for row in pq.read_table(path, partitioning=None).to_pylist()]
    return [pair | row for pair, row in zip(pairs, table.to_pylist(), strict=True)]


def column(found: list[dict[str, Any]], name: str) -> list[Any]:
    return [row[name] for row in found]


def test_wins_losses_and_ties_are_counted_under_each_prompt_apart(store: Store, tmp_path: Path) -> None:
    judged = [
        Row("cat", "a", "b", winner=0),
        Row("cat", "a", "c", winner=0, ranking=1),
        Row("cat", "d", "c", winner=1, ranking=2),
        Row("cat", "d", "b", winner=None, ranking=3),
        Row("dog", "a", "b", winner=1, ranking=4),
    ]
    found = graph_of(store, judged, tmp_path)
    assert [(r["wins_0"], r["losses_0"], r["ties_0"]) for r in found] == [
        (2, 0, 0),
        (2, 0, 0),
        (0, 1, 1),
        (0, 1, 1),
        (0, 1, 0),
    ]
    # "More than one win, no loss, no tie" (Gambashidze et al. 2024, section 5): only a, and only under "cat".
    assert column(found, "absolute_winner") == [True, True, False, False, False]
    assert column(found, "prompt_pairs") == [4, 4, 4, 4, 1]


def test_opposite_verdicts_contradict_each_other_whichever_image_stood_first(store: Store, tmp_path: Path) -> None:
    judged = [
        Row("cat", "a", "b", winner=0, user=1),
        Row("cat", "b", "a", winner=0, user=2, ranking=1),
        Row("cat", "b", "a", winner=1, user=3, ranking=2),
        Row("cat", "a", "b", winner=None, user=4, ranking=3),
        Row("cat", "a", "c", winner=0, user=1, ranking=4),
    ]
    found = graph_of(store, judged, tmp_path)
    assert column(found, "contradictions") == [1, 2, 1, 0, 0]
    assert column(found, "agreements") == [1, 0, 1, 0, 0]
    assert column(found, "in_cycle") == [True, True, True, False, False]
    # Rater 2 met two other verdicts on the pair and shares neither; raters 1 and 3 share each other's.
    assert column(found, "rater_agreement") == [0.5, 0.0, 0.5, None, 0.5]
    assert column(found, "rater_compared") == [2, 2, 2, 0, 2]


def test_nobody_confirms_himself(store: Store, tmp_path: Path) -> None:
    twice = [Row("cat", "a", "b", winner=0, user=1, ranking=i) for i in range(2)]
    found = graph_of(store, twice, tmp_path)
    assert column(found, "agreements") == [1, 1]
    assert column(found, "rater_agreement") == [None, None]


def test_a_cycle_of_three_is_found_and_what_only_leads_to_it_is_not(store: Store, tmp_path: Path) -> None:
    beats = [("a", "b"), ("b", "c"), ("c", "a"), ("d", "a"), ("c", "e")]
    judged = [Row("cat", won, lost, winner=0, ranking=i) for i, (won, lost) in enumerate(beats)]
    # The same images under another prompt close no cycle.
    judged += [Row("dog", "a", "b", winner=0, ranking=9), Row("dog", "b", "c", winner=0, ranking=10)]
    found = graph_of(store, judged, tmp_path)
    assert column(found, "in_cycle") == [True, True, True, False, False, False, False]
    assert column(found, "rater_cycle_share") == [pytest.approx(3 / 7)] * 7


def test_a_chain_is_what_one_rater_judged_in_a_row_with_a_shared_image(store: Store, tmp_path: Path) -> None:
    judged = [
        Row("cat", "a", "b", user=1, ranking=0),
        Row("cat", "x", "y", user=2, ranking=1),  # somebody else, in between
        Row("cat", "a", "c", user=1, ranking=2),
        Row("cat", "d", "c", user=1, ranking=3),
        Row("cat", "e", "f", user=1, ranking=4),  # nothing shared: a new chain
        Row("dog", "e", "f", user=1, ranking=5),
        with_raw(Row("cat", "a", "b", ranking=6), user_id=None),
    ]
    found = graph_of(store, judged, tmp_path)
    assert column(found, "chain_position") == [0, 0, 1, 2, 0, 0, None]
    assert column(found, "chain_length") == [3, 1, 3, 3, 1, 1, None]
    assert column(found, "rater_pairs") == [5, 1, 5, 5, 5, 5, None]


def test_the_time_of_a_judgement_orders_a_chain_not_its_place_in_the_file(store: Store, tmp_path: Path) -> None:
    later_first = [Row("cat", "a", "c", user=1, ranking=8), Row("cat", "a", "b", user=1, ranking=3)]
    assert column(graph_of(store, later_first, tmp_path), "chain_position") == [1, 0]


def test_models_are_rated_against_other_models_only(store: Store, tmp_path: Path) -> None:
    judged = [
        Row("cat", "a", "b", winner=0, model_0="m", model_1="n"),
        Row("cat", "c", "d", winner=0, model_0="n", model_1="m", ranking=1),
        Row("cat", "e", "f", winner=None, model_0="m", model_1="n", ranking=2),
        Row("cat", "g", "h", winner=0, model_0="m", model_1="o", ranking=3),
        Row("cat", "i", "j", winner=0, model_0="n", model_1="n", ranking=4),
    ]
    found = graph_of(store, judged, tmp_path)
    # m: won, lost, tied, won = 2.5 of 4; n: 1.5 of 3, its meeting with itself left out; o: 0 of 1.
    rates = {"m": 0.625, "n": 0.5, "o": 0.0}
    assert column(found, "model_win_rate_0") == [rates[row.model_0] for row in judged]
    assert column(found, "model_win_rate_1") == [rates[row.model_1] for row in judged]
    graph = label_graph(store, get_dataset(store, "pets"))
    matches = pq.read_table(store.local(graph.matches.file), partitioning=None)
    assert matches.schema.equals(MATCHES)
    assert {(m["model"], m["opponent"]): (m["pairs"], m["score"], m["ties"]) for m in matches.to_pylist()} == {
        ("m", "n"): (3, 1.5, 1),
        ("n", "m"): (3, 1.5, 1),
        ("m", "o"): (1, 1.0, 0),
        ("o", "m"): (1, 0.0, 0),
    }


def test_prompts_that_say_nearly_the_same_are_one_cluster(store: Store, tmp_path: Path) -> None:
    prompts = [
        "a red fox asleep under an old oak tree, oil painting",
        "A red fox, asleep under an old oak tree; oil painting!",
        "a red fox asleep under an old elm tree, oil painting",
        "portrait of a woman with green eyes",
    ]
    judged = [Row(prompt, f"a{i}", f"b{i}", ranking=i) for i, prompt in enumerate(prompts)]
    found = graph_of(store, judged, tmp_path)
    assert column(found, "prompt_variants") == [2, 2, 1, 1]
    assert column(found, "prompt_cluster_size") == [3, 3, 3, 1]
    assert len({row["prompt_cluster"] for row in found[:3]}) == 1
    assert found[3]["prompt_cluster"] == found[3]["prompt_id"]


def test_raters_have_a_record_each(store: Store, tmp_path: Path) -> None:
    judged = [Row("cat", f"a{i}", f"b{i}", winner=w, user=i % 2, ranking=i) for i, w in enumerate([0, 1, 0, None, 1])]
    graph_of(store, judged, tmp_path)
    raters = pq.read_table(store.local(label_graph(store, get_dataset(store, "pets")).raters.file), partitioning=None)
    assert raters.schema.equals(RATERS)
    assert [(r["rater"], r["pairs"], r["ties"], r["first_share"]) for r in raters.to_pylist()] == [
        ("0", 3, 0, pytest.approx(2 / 3)),
        ("1", 2, 1, 0.0),
    ]


def test_it_is_built_once_for_a_revision_and_again_for_the_next(store: Store, tmp_path: Path) -> None:
    graph_of(store, [Row("cat", "a", "b", winner=0)], tmp_path)
    first = get_dataset(store, "pets")
    before = store.entries("graphs")
    assert label_graph(store, first) == label_graph(store, first)
    assert store.entries("graphs") == before
    ingest(store, write(tmp_path / "more.parquet", [Row("cat", "b", "a", winner=0, user=9, ranking=1)]), "pets")
    assert column(read(store), "contradictions") == [1, 1]
    # What an older snapshot reads is still there, and still says what it said.
    old = pq.read_table(store.local(label_graph(store, first).pairs.file), partitioning=None)
    assert old["contradictions"].to_pylist() == [0]


def test_what_is_damaged_or_lost_is_built_again(store: Store, tmp_path: Path) -> None:
    first = graph_of(store, rows(4), tmp_path)
    dataset = get_dataset(store, "pets")
    whole = label_graph(store, dataset)
    store.local(graph_key(dataset)).write_bytes(b'{"dataset":"pets"}')
    assert label_graph(store, dataset) == whole
    damaged = store.local(whole.pairs.file)
    damaged.write_bytes(damaged.read_bytes()[:-9])
    assert read(store) == first
    store.delete(whole.raters.file)
    assert label_graph(store, dataset) == whole
    assert store.exists(whole.raters.file)


VERDICTS = st.lists(
    st.tuples(
        st.sampled_from(["cat", "dog"]),
        st.sampled_from("abcd"),
        st.sampled_from("abcd"),
        st.sampled_from([0, 1, None]),
        st.integers(0, 2),
    ).filter(lambda v: v[1] != v[2]),
    min_size=1,
    max_size=25,
)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(verdicts=VERDICTS)
def test_every_number_is_that_of_a_slow_recount(
    verdicts: list[tuple[Any, ...]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("recount")
    judged = [Row(p, a, b, winner=w, user=u, ranking=i) for i, (p, a, b, w, u) in enumerate(verdicts)]
    found = graph_of(Store.open(folder / "store"), judged, folder)
    outcome: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    beats: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for prompt, a, b, winner, _ in verdicts:
        for side, image in enumerate((a, b)):
            outcome[prompt, image]["tie" if winner is None else "win" if winner == side else "loss"] += 1
        if winner is not None:
            beats[prompt].add((a, b) if winner == 0 else (b, a))
    for n, (row, (prompt, a, b, winner, rater)) in enumerate(zip(found, verdicts, strict=True)):
        for side, image in enumerate((a, b)):
            counts = outcome[prompt, image]
            assert [row[f"{word}_{side}"] for word in ("wins", "losses", "ties")] == [
                counts["win"],
                counts["loss"],
                counts["tie"],
            ]
        won = None if winner is None else (a, b)[winner]
        same = [
            (v[1], v[2])[v[3]]
            for i, v in enumerate(verdicts)
            if i != n and v[3] is not None and v[0] == prompt and {v[1], v[2]} == {a, b}
        ]
        assert row["agreements"] == (same.count(won) if won else 0)
        assert row["contradictions"] == (len(same) - same.count(won) if won else 0)
        if won is None:
            assert not row["in_cycle"]
        else:
            lost = b if won == a else a
            assert row["in_cycle"] == reaches(lost, won, beats[prompt])
        others = [
            ((v[1], v[2])[v[3]] == (w[1], w[2])[w[3]])
            for v in verdicts
            if v[4] == rater and v[3] is not None
            for w in verdicts
            if w[4] != rater and w[3] is not None and w[0] == v[0] and {w[1], w[2]} == {v[1], v[2]}
        ]
        assert row["rater_compared"] == len(others)
        assert row["rater_agreement"] == (pytest.approx(sum(others) / len(others)) if others else None)
    for rater in range(3):
        for prompt in ("cat", "dog"):
            mine = [r for r, v in zip(found, verdicts, strict=True) if v[4] == rater and v[0] == prompt]
            for before, after in pairwise(mine):
                shared = {before["image_0_uid"], before["image_1_uid"]} & {after["image_0_uid"], after["image_1_uid"]}
                assert after["chain_position"] == (before["chain_position"] + 1 if shared else 0)


def reaches(start: str, goal: str, beats: set[tuple[str, str]]) -> bool:
    """Whether wins lead from one image to another."""
    seen, todo = {start}, [start]
    while todo:
        here = todo.pop()
        for winner, loser in beats:
            if winner == here and loser not in seen:
                seen.add(loser)
                todo.append(loser)
    return goal in seen
