"""One ingested store that every test gets a copy of: reading the same rows again would take most of the time."""

import shutil
from pathlib import Path

import pytest
from pickapic_factory import rows, write

from ranking.datasets import Dataset, get_dataset
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


@pytest.fixture
def store(ingested: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A copy of that store, which the settings name, too."""
    shutil.copytree(ingested, tmp_path / "store")
    monkeypatch.setenv("PAIRSIEVE_STORE", str(tmp_path / "store"))
    return Store.open(tmp_path / "store")


@pytest.fixture
def dataset(store: Store) -> Dataset:
    """The dataset of that store."""
    return get_dataset(store, "pets")
