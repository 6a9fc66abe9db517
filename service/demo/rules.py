"""Which rule finds the right labels: the share of them among the best pairs by several metrics, at several depths."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from ranking import duck
from ranking.features.pairs import PairTable
from ranking.store.blobs import Store
from ranking.store.snapshots import Snapshot
from ranking.subsets.recipe import parse_recipe
from ranking.subsets.select import rank

SHARES = (0.0533, 0.3, 0.6)
"""How deep into each ranking one looks."""

_RULES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("random", {"name": "random"}),
    ("qsd, raw scores", {"name": "qsd", "scorer": "preference-toy", "normalize": "raw"}),
    ("qsd, minmax", {"name": "qsd", "scorer": "preference-toy", "normalize": "minmax"}),
    ("margin", {"name": "margin", "scorer": "preference-toy"}),
    (
        "vote of four scorers",
        {"name": "vote-fraction", "scorers": ["clip-toy", "aesthetic-toy", "preference-toy", "technical"]},
    ),
    ("label-confidence", {"name": "label-confidence"}),
)


@dataclass(frozen=True)
class RuleAccuracy:
    """A rule and the share of right labels among the best `SHARES` of the pairs it ranks, in [0, 1]; pairs that the
    truth calls ties do not count, and None says that there are no others."""

    title: str
    accuracies: tuple[float | None, ...]


def rule_accuracies(store: Store, snapshot: Snapshot, dataset: str, *, truth: Path, seed: int) -> list[RuleAccuracy]:
    """How well each rule of this comparison finds right labels in a dataset with a known truth."""
    table = PairTable(store, snapshot, dataset)
    return [
        RuleAccuracy(title, _accuracies(_ranked(store, snapshot, dataset, table, metric, seed), truth))
        for title, metric in _RULES
    ]


def _ranked(
    store: Store, snapshot: Snapshot, dataset: str, table: PairTable, metric: dict[str, Any], seed: int
) -> pa.Table:
    recipe = {"name": "comparison", "dataset": dataset, "metric": metric, "take": {"percent": 100.0}, "seed": seed}
    return rank(store, snapshot, parse_recipe(recipe), table=table)


def _accuracies(ranked: pa.Table, truth: Path) -> tuple[float | None, ...]:
    columns = ", ".join(
        f"avg((true_label_0 = label_0)::INTEGER) FILTER (true_label_0 <> 0.5 AND rank <= {share * len(ranked)!r})"
        for share in SHARES
    )
    known = duck.parquet_scan([truth])
    with duck.connect() as con:
        con.register("ranked", ranked)
        found = con.execute(
            f"""SELECT {columns} FROM ranked JOIN (
                    SELECT image_0_uid AS winner_uid, image_1_uid AS loser_uid, true_label_0, 1 AS label_0 FROM {known}
                    UNION ALL SELECT image_1_uid, image_0_uid, true_label_0, 0 FROM {known}
                ) USING (winner_uid, loser_uid)"""
        ).fetchall()[0]
        con.unregister("ranked")
    return tuple(found)
