"""Metrics in recipes over a store: every one ranks, and those that read embeddings and fields find them."""

from typing import Any

import pytest
from embedded import embed_all

from ranking.errors import UsageError
from ranking.features.pairs import PairTable
from ranking.metrics.registry import metrics
from ranking.store.blobs import Store
from ranking.store.snapshots import Snapshot, create_snapshot
from ranking.subsets.density import prompt_density
from ranking.subsets.recipe import parse_recipe
from ranking.subsets.select import rank

BOTH = ["sharp", "hue.2"]
MARGIN = {"name": "margin", "scorer": "sharp"}
OPTIONS: dict[str, dict[str, Any]] = {
    **{name: {"scorer": "sharp"} for name in ("qsd", "margin", "winner-score", "smpo-weight")},
    **{name: {"scorers": BOTH, "outside": "keep"} for name in ("unanimous",)},
    **{name: {"scorers": BOTH} for name in ("vote-fraction", "pareto")},
    **{name: {"of": [MARGIN, {"name": "random"}]} for name in ("weighted-sum", "product", "rank-fusion")},
    **{name: {} for name in ("random", "label-confidence", "absolute-winner", "arena-gap")},
    "field": {"field": "sharp.zgap"},
    "mpcf": {"thresholds": {"sharp": -9, "hue.2": -9}},
    "curriculum-gap": {"scorer": "sharp", "least_gap": 0.0, "least_score": None},
    "dual-margin": {"external": "sharp", "implicit": "hue.2"},
    "fifa": {"scorer": "sharp", "embedding": "clip-l14", "neighbours": 2},
}
MAY_BE_EMPTY = {"absolute-winner"}  # in twelve pairs nobody need have won twice


def ranked(store: Store, snapshot: Snapshot, metric: dict[str, Any]) -> dict[str, float]:
    value = {"name": "all", "dataset": "pets", "metric": metric, "take": {"percent": 100}}
    found = rank(store, snapshot, parse_recipe(value))
    return dict(zip(found["pair_id"].to_pylist(), found["metric"].to_pylist(), strict=True))


def test_every_metric_ranks_in_a_recipe_and_fifa_counts_how_rare_a_prompt_is(store: Store, snapshot: Snapshot) -> None:
    embed_all(store)
    later = create_snapshot(store)
    assert set(OPTIONS) == set(metrics()), "a new metric needs a line here"
    found = {name: ranked(store, later, {"name": name} | options) for name, options in OPTIONS.items()}
    assert {name for name, pairs in found.items() if not pairs} <= MAY_BE_EMPTY
    table = PairTable(store, later, "pets")
    rare = prompt_density(table, "clip-l14", neighbours=2)
    log_distance = dict(zip(rare["prompt_id"].to_pylist(), rare["log_distance"].to_pylist(), strict=True))
    with table.connect() as con:
        rows = con.sql(
            f'SELECT pair_id, prompt_id, "sharp.gap" FROM {table.relation()} WHERE winner IS NOT NULL'
        ).fetchall()
    deviation = table.scale("sharp").deviation
    expected = {pair: abs(gap) / deviation + 0.5 * log_distance[prompt] for pair, prompt, gap in rows}
    assert found["fifa"] == pytest.approx(expected, abs=1e-9)
    assert found["field"] == pytest.approx({pair: gap / deviation for pair, _, gap in rows}, abs=1e-12)


def test_a_text_is_no_metric(store: Store, snapshot: Snapshot) -> None:
    with pytest.raises(UsageError, match=r"metric\.field: rater is text, no number"):
        ranked(store, snapshot, {"name": "field", "field": "rater"})
