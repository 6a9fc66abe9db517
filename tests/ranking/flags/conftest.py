"""Ingested and scored stores that tests get copies of: to make them again would take most of the time."""

import shutil
from pathlib import Path

import pytest
from pickapic_factory import rows, write
from scored import score_all

from ranking.datasets import Dataset, get_dataset
from ranking.features.wide import wide_table
from ranking.ingest import ingest
from ranking.store.blobs import Store


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve judgements in two files."""
    folder = tmp_path_factory.mktemp("flags") / "source"
    for part in range(2):
        write(folder / f"part-{part}.parquet", rows(6, first=6 * part), row_group_size=4)
    return folder


@pytest.fixture(scope="session")
def ingested(source: Path) -> Path:
    """A store's folder with them as "pets", in slices of at most five items."""
    folder = source.parent / "store"
    ingest(Store.open(folder), source, "pets", slice_items=5)
    return folder


@pytest.fixture(scope="session")
def scored(ingested: Path) -> Path:
    """The folder of a copy of it with scores by "a", a snapshot of them and its wide table."""
    folder = shutil.copytree(ingested, ingested.with_name("scored"))
    store = Store.open(folder)
    wide_table(store, score_all(store, "pets", {"a@00000000": lambda uid: sum(map(ord, uid)) / 1000}), "pets")
    return folder


@pytest.fixture
def store(ingested: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A copy of the ingested store, which the settings name, too."""
    shutil.copytree(ingested, tmp_path / "store")
    monkeypatch.setenv("PAIRSIEVE_STORE", str(tmp_path / "store"))
    return Store.open(tmp_path / "store")


@pytest.fixture
def dataset(store: Store) -> Dataset:
    """The dataset of that store."""
    return get_dataset(store, "pets")
