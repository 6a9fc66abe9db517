"""What share of labels is right, which only a world with a known truth can tell."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ranking import duck
from ranking.datasets import get_dataset
from ranking.store.blobs import Store
from ranking.store.snapshots import Snapshot
from ranking.subsets.catalog import Subset


@dataclass(frozen=True)
class LabelAccuracy:
    """`accuracy` is the share of `decided` pairs (neither the human nor the truth calls a tie) labelled right."""

    pairs: int
    images: int
    decided: int
    accuracy: float


def label_accuracy(
    store: Store, truth: Path, snapshot: Snapshot | None, dataset: str, *, subset: Subset | None = None
) -> LabelAccuracy:
    """The accuracy of the human labels of a dataset, or of one of its subsets."""
    found = get_dataset(store, dataset, revision=snapshot.datasets[dataset].revision if snapshot else None)
    chosen = (
        f"WHERE pair_id IN (SELECT pair_id FROM {duck.parquet_scan([store.local(subset.pairs_key)])})" if subset else ""
    )
    with duck.connect() as con:
        row = duck.arrow(
            con,
            f"""
            WITH judged AS (
                SELECT p.*, t.true_label_0
                FROM {duck.parquet_scan(found.pairs_paths(store))} p
                JOIN {duck.parquet_scan([truth])} t USING (image_0_uid, image_1_uid)
                {chosen}
            )
            SELECT count(*) AS pairs,
                   (SELECT count(DISTINCT uid) FROM (SELECT unnest([image_0_uid, image_1_uid]) AS uid FROM judged))
                       AS images,
                   count(*) FILTER (NOT is_tie AND true_label_0 <> 0.5) AS decided,
                   avg((label_0 = true_label_0)::INTEGER) FILTER (NOT is_tie AND true_label_0 <> 0.5) AS accuracy
            FROM judged
            """,
        ).to_pylist()[0]
    return LabelAccuracy(row["pairs"], row["images"], row["decided"], row["accuracy"] or 0.0)


def label_verdicts(truth: Path, pairs: list[tuple[str, str]]) -> list[str]:
    """For pairs of (winner uid, loser uid) by the human label: "right", "wrong" or "tie" by the truth."""
    with duck.connect() as con:
        rows = duck.arrow(
            con, f"SELECT image_0_uid, image_1_uid, true_label_0 FROM {duck.parquet_scan([truth])}"
        ).to_pylist()
    true_label = {(row["image_0_uid"], row["image_1_uid"]): row["true_label_0"] for row in rows}
    verdicts = []
    for winner, loser in pairs:
        label = true_label.get((winner, loser))
        if label is None:
            label = 1 - true_label[loser, winner]
        verdicts.append({1.0: "right", 0.0: "wrong"}.get(label, "tie"))
    return verdicts
