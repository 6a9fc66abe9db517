"""Which pairs stand elsewhere in another subset, for the API and the dashboard. Judges neither."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from ranking.subsets.catalog import Subset
from service.subsets import SubsetShelf

MOVED: Final = 20


@dataclass(frozen=True)
class Moved:
    """A pair of both subsets and its two ranks; `flipped` if its winner is another image in the second."""

    pair_id: str
    prompt: str | None
    first: int
    second: int
    flipped: bool


def moved(shelf: SubsetShelf, first: Subset, second: Subset, *, most: int = MOVED) -> list[Moved]:
    """The pairs of both whose place moved most, as shares of each subset's length; ties by pair_id."""
    columns = ["pair_id", "rank", "winner_uid", "prompt"]
    one, other = (shelf.pairs(each).select(columns) for each in (first, second))
    at = pc.index_in(one["pair_id"], other["pair_id"].combine_chunks())
    both = pc.is_valid(at)
    mine, theirs = one.filter(both), other.take(pc.drop_null(at))
    shares = [
        pc.divide(part["rank"].cast(pa.float64()), float(subset.rows))
        for part, subset in ((mine, first), (theirs, second))
    ]
    table = pa.table(
        {
            "pair_id": mine["pair_id"],
            "prompt": mine["prompt"],
            "first": mine["rank"],
            "second": theirs["rank"],
            "flipped": pc.not_equal(mine["winner_uid"], theirs["winner_uid"]),
            "by": pc.abs(pc.subtract(*shares)),
        }
    )
    rows: list[dict[str, Any]] = (
        table.sort_by([("by", "descending"), ("pair_id", "ascending")]).slice(0, most).drop_columns(["by"]).to_pylist()
    )
    return [Moved(**row) for row in rows]
