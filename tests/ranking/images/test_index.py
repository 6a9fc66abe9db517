"""The index finds single images among many, and says nothing of those that are not there."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pickapic_factory import Row, jpeg, rows, write

from ranking.datasets import Dataset, get_dataset
from ranking.images import ImageReader
from ranking.images.index import ImageIndex
from ranking.images.reader import POINTER
from ranking.ingest import ingest
from ranking.plan import create_plan, read_items
from ranking.store.blobs import Store


@pytest.fixture
def grown(store: Store, dataset: Dataset, tmp_path: Path) -> Dataset:
    """The dataset with a second revision, which shows an old image under a new prompt."""
    write(tmp_path / "more.parquet", [Row("later", "img-3", "new-1"), *rows(5, first=50)])
    ingest(store, tmp_path / "more.parquet", "pets", slice_items=5)
    return get_dataset(store, "pets")


def test_each_image_is_found_where_its_items_say(store: Store, grown: Dataset) -> None:
    index, job = ImageIndex(store, grown), create_plan(store, "pets", ["a@00000000"])
    shown: dict[str, list[str]] = {}
    for piece in job.slices:
        for uid in read_items(store, job, piece)["image_uid"].to_pylist():
            shown.setdefault(uid, []).append(piece.unit)
    assert {uid: index.units(uid) for uid in shown} == {uid: list(dict.fromkeys(units)) for uid, units in shown.items()}
    assert len(shown["img-3"]) == 2
    reader = ImageReader(store, grown)
    for uid in shown:
        place = index.place(uid)
        assert (place.column_names, len(place)) == (list(POINTER), len(shown[uid]))
        assert reader.read_items(place) == {uid: jpeg(uid)}


@pytest.mark.parametrize("uid", ["", "img-", "img-3 ", "no-such-image", "\0", "x" * 5000, "'; --", "😀"])
def test_an_unknown_image_is_nowhere(store: Store, grown: Dataset, uid: str) -> None:
    index = ImageIndex(store, grown)
    assert index.units(uid) == []
    assert (len(index.place(uid)), index.place(uid).column_names) == (0, list(POINTER))


def test_images_whose_hashes_collide_are_told_apart(
    store: Store, grown: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ImageIndex, "_hash", lambda self, uids: np.zeros(len(uids), np.uint64))
    index = ImageIndex(store, grown)
    assert set(index.place("img-4")["image_uid"].to_pylist()) == {"img-4"}
    assert len(index.place("another")) == 0


def test_a_dataset_without_items_has_no_images(store: Store, dataset: Dataset) -> None:
    assert ImageIndex(store, replace(dataset, items_files=(), slices=())).units("img-1") == []
