"""Subsets of whatever rows a test makes, scored by a scorer that prefers the picture whose uid sorts first."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
from pickapic_factory import Row, write

from ranking.ingest import ingest
from ranking.plan import create_plan, open_slices, read_items
from ranking.schema import SCORES
from ranking.store.blobs import Store
from ranking.store.commits import commit_scores
from ranking.store.snapshots import create_snapshot
from ranking.subsets.catalog import Subset
from ranking.subsets.recipe import parse_recipe
from ranking.subsets.select import create_subset

SCORER = "fixed@0123456789ab"


def all_pairs(store: Store, folder: Path, judgements: Sequence[Row]) -> Subset:
    """A dataset of these rows and the subset of all its pairs that have a winner."""
    write(folder / "source" / "pairs.parquet", judgements, row_group_size=4)
    ingest(store, folder / "source", "pets")
    plan = create_plan(store, "pets", [SCORER])
    for piece, _ in open_slices(store, plan):
        items = read_items(store, plan, piece)
        uids = items["image_uid"].to_pylist()
        order = {uid: -float(i) for i, uid in enumerate(sorted(set(uids)))}
        scores = pa.array([order[uid] for uid in uids], pa.float32())
        columns = [items["image_uid"], items["prompt_id"], scores, pa.array(["ok"] * len(items))]
        table = pa.table(columns, schema=SCORES)
        commit_scores(store, scorer_id=SCORER, unit=piece.unit, table=table, attempt="test", items=items)
    recipe = {
        "name": "all",
        "dataset": "pets",
        "metric": {"name": "margin", "scorer": "fixed"},
        "take": {"percent": 100.0},
    }
    return create_subset(store, parse_recipe(recipe), create_snapshot(store))
