"""GET /v1/datasets: what was ingested, and which fields its pairs have."""

from __future__ import annotations

from fastapi import APIRouter

from ranking.datasets import Dataset
from service.api.models import DatasetDetail, DatasetList, DatasetOut, FieldOut
from service.dependencies import NoQuery, ViewDep
from service.snapshots import Table, View

router = APIRouter(prefix="/v1/datasets", tags=["datasets"])


@router.get("")
def list_(view: ViewDep, _query: NoQuery) -> DatasetList:
    """Every dataset at its newest revision, also those that no snapshot holds yet."""
    items = [dataset_out(view, dataset) for dataset in view.datasets.values()]
    return DatasetList(items=items, snapshot=view.number)


@router.get("/{name}")
def get(name: str, view: ViewDep, _query: NoQuery) -> DatasetDetail:
    """One dataset and the fields that /v1/pairs may filter and sort by."""
    dataset = view.dataset(name)
    assert dataset is not None, "a name gives a dataset or an error"
    shown = fields_out(view.tables[name]) if name in view.tables else []
    return DatasetDetail(**dataset_out(view, dataset).model_dump(), fields=shown)


def fields_out(table: Table) -> list[FieldOut]:
    """What the table's pairs may be filtered and sorted by."""
    return [
        FieldOut(
            name=column.name,
            kind=column.kind,
            meaning=column.meaning,
            group=column.group,
            made="derived" if column.sql is not None else "kept" if column.name in table.features else "stored",
        )
        for column in table.columns.values()
    ]


def dataset_out(view: View, dataset: Dataset) -> DatasetOut:
    """A dataset as the API shows it."""
    return DatasetOut(
        name=dataset.name,
        revision=dataset.revision,
        revision_sha=dataset.revision_sha,
        origin_sha=dataset.origin_sha,
        format=dataset.format,
        pairs=dataset.n_pairs,
        items=dataset.n_items,
        skipped=dataset.skipped,
        created=dataset.created,
        snapshot=view.number if dataset.name in view.tables else None,
    )
