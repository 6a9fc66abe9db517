"""Turns rows of the wide table into the API's objects and addresses. The dashboard reads the same objects."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from urllib.parse import quote, urlencode

from ranking.datasets import Dataset
from ranking.features.fields import Group
from ranking.features.tallies import Tally
from service.api.models import ImageOut, PairOut, ScoreOut, finite
from service.snapshots import Table, View


def image_url(dataset: Dataset, uid: str, *, size: int | None = None) -> str:
    """The address of an image. `v` names the dataset's revision, so that the answer may be kept for ever."""
    query = {"dataset": dataset.name} | ({"size": str(size)} if size else {}) | {"v": dataset.revision_sha[:12]}
    return f"/v1/images/{quote(uid, safe='')}?{urlencode(query)}"


def pair_out(view: View, table: Table, row: dict[str, Any]) -> PairOut:
    """The pair of one row of the table."""
    dataset = view.datasets[table.dataset]
    created: datetime | None = row["created_at"]
    winner = row["winner"]
    return PairOut(
        pair_id=row["pair_id"],
        dataset=table.dataset,
        prompt_id=row["prompt_id"],
        prompt=row["prompt"],
        images=[
            ImageOut(
                uid=row[f"image_{side}_uid"],
                url=image_url(dataset, row[f"image_{side}_uid"]),
                thumbnail_url=image_url(dataset, row[f"image_{side}_uid"], size=256),
                label=row[f"label_{side}"],
                model=row[f"model_{side}"],
            )
            for side in (0, 1)
        ],
        winner=winner,
        is_tie=row["is_tie"],
        rater=row["rater"],
        created_at=created.isoformat() + "Z" if created else None,
        scores={name: _score(row, name, table.tallies[name]) for name in view.scorers},
        votes=row["votes"],
        agree_votes=row["agree_votes"],
        votes_0=row["votes_0"],
        votes_1=row["votes_1"],
        labels=_group(table, row, "labels"),
        facts=_group(table, row, "images"),
        ratings=_group(table, row, "ratings"),
        features={name: row[name] for name in table.columns if name in table.features and name in row},
    )


def _group(table: Table, row: dict[str, Any], group: Group) -> dict[str, Any]:
    features = table.features
    return {
        column.name: row[column.name]
        for column in table.columns.values()
        if column.group == group and column.name not in features
    }


def _score(row: dict[str, Any], name: str, tally: Tally) -> ScoreOut:
    gap = finite(row[f"{name}.gap"])
    # As the derived field has it (ranking.features.derived): 0 where all scores are the same.
    zgap = None if gap is None else gap / tally.deviation if tally.low != tally.high else 0.0
    return ScoreOut(
        image_0=row[f"{name}.0"],
        image_1=row[f"{name}.1"],
        gap=gap,
        zgap=zgap,
        agrees=gap > 0 if gap else None,
        rank=row[f"{name}.rank"],
        status_0=row[f"{name}.status_0"],
        status_1=row[f"{name}.status_1"],
    )
