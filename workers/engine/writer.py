"""The last stage: scores become a table of exactly the slice's items, and each scorer's table a commit; so do the
facts of its images."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ranking.images.facts import FACTS_ID, ImageFacts
from ranking.schema import FACTS, NON_FINITE, OK, SCORES
from ranking.store.blobs import Store
from ranking.store.commits import commit_facts, commit_scores


@dataclass(frozen=True)
class Written:
    """What became of one scorer's scores: whether this commit won, and the rows without a score by status."""

    won: bool
    failed: dict[str, int]


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
    return Written(won, dict(Counter(status[~good].tolist())))


def write_facts(store: Store, items: pa.Table, facts: Mapping[str, ImageFacts], *, unit: str, attempt: str) -> bool:
    """Commit the facts of every image of `items`, by uid. False if they were committed before."""
    uids = items["image_uid"].unique().to_pylist()
    rows = [{"image_uid": uid} | asdict(facts[uid]) for uid in uids]
    table = pa.Table.from_pylist(rows, schema=FACTS)
    return commit_facts(store, facts_id=FACTS_ID, unit=unit, table=table, attempt=attempt, items=items)
