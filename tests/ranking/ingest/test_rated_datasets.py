"""Ratings beside the pairs of a dataset: which are taken, that nothing counts twice, and what needs the pairs first."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pickapic_factory import rows, write
from tfrecord_factory import example, write_tfrecord

from ranking.datasets import Dataset, get_dataset
from ranking.errors import SourceError, StoreError
from ranking.features.wide import wide_table
from ranking.ingest import ingest
from ranking.plan import create_plan
from ranking.schema import RATED
from ranking.store.blobs import Store
from ranking.store.snapshots import create_snapshot, verify_snapshot

SCORES = ("aesthetics_score", "artifact_score", "misalignment_score", "overall_score")


def rated(path: Path, values: dict[str, float]) -> Path:
    """A RichHF file in which each of these images has one value four times over."""
    records = [
        example({"filename": f"train/{uid}.png".encode(), **dict.fromkeys(SCORES, value)})
        for uid, value in values.items()
    ]
    return write_tfrecord(path, records)


def ratings_of(store: Store, dataset: Dataset) -> list[dict[str, Any]]:
    tables = [pq.read_table(path, partitioning=None) for path in dataset.ratings_paths(store)]
    assert all(found.schema.equals(RATED) for found in tables)
    return pa.concat_tables(tables).to_pylist() if tables else []


@pytest.fixture
def pets(store: Store, tmp_path: Path) -> Dataset:
    ingest(store, write(tmp_path / "pets.parquet", rows(4)), "pets")
    return get_dataset(store, "pets")


def test_ratings_join_a_dataset_that_has_the_images(store: Store, pets: Dataset, tmp_path: Path) -> None:
    source = rated(tmp_path / "a.tfrecord", {"img-1": 0.25, "elsewhere": 0.5, "img-0": 0.75})
    report = ingest(store, source, "pets", format="richhf")
    assert (report.created, report.revision, report.ratings_added, report.pairs_added) == (True, 2, 8, 0)
    assert (report.rows_read, report.skipped) == (12, {"unknown_image": 4})
    after = get_dataset(store, "pets")
    found = ratings_of(store, after)
    assert [(row["image_uid"], row["value"]) for row in found] == [("img-1", 0.25)] * 4 + [("img-0", 0.75)] * 4
    names = {f"richhf-{what}" for what in ("aesthetics", "artifact", "misalignment", "overall")}
    assert {row["name"] for row in found} == names
    assert {row["prompt_id"] for row in found} == {None}
    assert (after.pairs_files, after.items_files, after.slices) == (pets.pairs_files, pets.items_files, pets.slices)
    assert (after.n_pairs, after.format, len(after.sources)) == (4, "pickapic", 2)
    assert get_dataset(store, "pets", revision=1) == pets


def test_the_same_ratings_again_add_nothing(store: Store, pets: Dataset, tmp_path: Path) -> None:
    source = rated(tmp_path / "a.tfrecord", {"img-1": 0.25})
    ingest(store, source, "pets")
    assert ingest(store, source, "pets").created is False
    # Another file that repeats them brings only what is new.
    report = ingest(store, rated(tmp_path / "b.tfrecord", {"img-1": 0.25, "img-2": 0.5}), "pets")
    assert (report.ratings_added, report.skipped) == (4, {"duplicate": 4})
    report = ingest(store, rated(tmp_path / "c.tfrecord", {"img-2": 0.5}), "pets")
    assert (report.created, report.ratings_added, report.skipped) == (True, 0, {"duplicate": 4})
    assert len(ratings_of(store, get_dataset(store, "pets"))) == 8


def test_pairs_and_ratings_of_one_folder_come_together(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "src"
    votes = {"weighted_results_image1_preference": [0.75], "weighted_results_image2_preference": [0.25]}
    parts = {f"weighted_results_image{i}_{what}": [0.5] for i in (1, 2) for what in ("alignment", "coherence")}
    names = {"prompt": ["a cat"], "image1": ["a.png"], "image2": ["b.png"], "model1": ["m"], "model2": ["n"]}
    folder.mkdir()
    pq.write_table(pa.table({**names, **votes, **parts}), folder / "a.parquet")
    report = ingest(store, folder, "rapid")
    assert (report.format, report.pairs_added) == ("rapidata", 1)
    found = ratings_of(store, get_dataset(store, "rapid"))
    assert report.ratings_added == len(found) > 0
    pairs = pq.read_table(get_dataset(store, "rapid").pairs_paths(store)[0], partitioning=None).to_pylist()
    assert {row["prompt_id"] for row in found} <= {pairs[0]["prompt_id"], None}
    assert {row["image_uid"] for row in found} <= {pairs[0]["image_0_uid"], pairs[0]["image_1_uid"]}


def test_ratings_alone_need_a_dataset(store: Store, tmp_path: Path) -> None:
    source = rated(tmp_path / "a.tfrecord", {"img-1": 0.25})
    with pytest.raises(SourceError, match=r"a\.tfrecord has ratings only, and there is no dataset pets .*pairs first"):
        ingest(store, source, "pets")
    assert store.list("datasets") == []


def test_ratings_of_nothing_but_other_images_are_refused(store: Store, pets: Dataset, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"no row of the source can be used \(4 unknown_image\)"):
        ingest(store, rated(tmp_path / "a.tfrecord", {"elsewhere": 0.25}), "pets")
    assert get_dataset(store, "pets") == pets


def test_what_reads_a_dataset_reads_one_with_ratings(store: Store, pets: Dataset, tmp_path: Path) -> None:
    before = create_snapshot(store)
    ingest(store, rated(tmp_path / "a.tfrecord", {"img-1": 0.25}), "pets")
    assert create_plan(store, "pets", ["technical@00000000"]).slices == pets.slices
    snapshot = create_snapshot(store)
    assert snapshot.sha != before.sha
    assert verify_snapshot(store, snapshot) == []
    assert pq.read_metadata(wide_table(store, snapshot, "pets")).num_rows == 4
    ingest(store, write(tmp_path / "more.parquet", rows(6)), "pets")
    assert get_dataset(store, "pets").n_pairs == 6


def test_a_damaged_ratings_file_is_noticed(store: Store, pets: Dataset, tmp_path: Path) -> None:
    ingest(store, rated(tmp_path / "a.tfrecord", {"img-1": 0.25}), "pets")
    (file,) = get_dataset(store, "pets").ratings_files
    path = store.local(file.file)
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(StoreError, match="is damaged"):
        get_dataset(store, "pets").ratings_paths(store)
