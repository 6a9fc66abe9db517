"""The last stage: scores become a table of exactly the slice's items, and each scorer's table a commit; so do the
facts of its images and their embeddings."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ranking.images.facts import FACTS_ID, ImageFacts
from ranking.schema import FACTS, NON_FINITE, OK, SCORES
from ranking.store.blobs import Store
from ranking.store.commits import commit_embeddings, commit_facts, commit_scores
from workers.engine.embeddings import Gathered

_FEW = 8
"""Fewer equal scores than this may be chance: copies of one image, say."""


@dataclass(frozen=True)
class Written:
    """What became of one scorer's scores: whether this commit won, the rows with a score, those without by status, and
    whether all scores are one number though there are several."""

    won: bool
    scored: int
    failed: dict[str, int]
    constant: bool


def write_scores(
    store: Store,
    items: pa.Table,
    values: npt.NDArray[np.float32],
    failed: dict[int, str],
    *,
    scorer_id: str,
    unit: str,
    attempt: str,
) -> Written:
    """Commit `values` (shape (items,)) of one scorer. Rows in `failed` get that status; other non-finite
    values become null with the status non_finite."""
    status = np.full(items.num_rows, OK, dtype=object)
    status[~np.isfinite(values)] = NON_FINITE
    for row, reason in failed.items():
        status[row] = reason
    good = status == OK
    table = pa.table(
        {
            "image_uid": items["image_uid"],
            "prompt_id": items["prompt_id"],
            "score": pa.array(values, pa.float32(), mask=~good),
            "status": pa.array(status, pa.string()),
        },
        schema=SCORES,
    )
    won = commit_scores(store, scorer_id=scorer_id, unit=unit, table=table, attempt=attempt, items=items)
    scores = values[good]
    constant = len(scores) >= _FEW and float(scores.min()) == float(scores.max())
    return Written(won, len(scores), dict(Counter(status[~good].tolist())), constant)


def write_facts(store: Store, items: pa.Table, facts: Mapping[str, ImageFacts], *, unit: str, attempt: str) -> bool:
    """Commit the facts of every image of `items`, by uid. False if they were committed before."""
    uids = items["image_uid"].unique().to_pylist()
    rows = [{"image_uid": uid} | asdict(facts[uid]) for uid in uids]
    table = pa.Table.from_pylist(rows, schema=FACTS)
    return commit_facts(store, facts_id=FACTS_ID, unit=unit, table=table, attempt=attempt, items=items)


def write_embeddings(
    store: Store, items: pa.Table, gathered: Gathered, *, embedding_id: str, unit: str, attempt: str
) -> bool:
    """Commit one embedding of every image and prompt of `items`. False if it was committed before."""
    return commit_embeddings(
        store, embedding_id=embedding_id, unit=unit, table=gathered.table(), attempt=attempt, items=items
    )
