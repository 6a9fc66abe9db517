"""Commits made-up scores for every item of a dataset, so that tests of ranking need no model."""

from collections.abc import Callable, Mapping

import pyarrow as pa

from ranking import plan
from ranking.schema import MISSING, OK, SCORES
from ranking.store.blobs import Store
from ranking.store.commits import commit_scores
from ranking.store.snapshots import Snapshot, create_snapshot

Score = Callable[[str], float | None]
"""The score of an image by its uid; None for an image without bytes."""


def score_table(uids: list[str], prompt_ids: list[str], scores: list[float | None]) -> pa.Table:
    """A table as `commit_scores` wants it; a score of None has the status "missing"."""
    statuses = [MISSING if score is None else OK for score in scores]
    return pa.table([uids, prompt_ids, pa.array(scores, pa.float32()), statuses], schema=SCORES)


def score_all(store: Store, dataset: str, scorers: Mapping[str, Score]) -> Snapshot:
    """Score every open slice of the dataset by each scorer id and take a snapshot."""
    job = plan.create_plan(store, dataset, scorers)
    for piece, scorer_ids in plan.open_slices(store, job):
        items = plan.read_items(store, job, piece)
        uids = items["image_uid"].to_pylist()
        for scorer_id in scorer_ids:
            table = score_table(uids, items["prompt_id"].to_pylist(), [scorers[scorer_id](uid) for uid in uids])
            commit_scores(store, scorer_id=scorer_id, unit=piece.unit, table=table, attempt="test", items=items)
    return create_snapshot(store)
