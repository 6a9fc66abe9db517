"""Images are found by pointer: in cells, in files that stay below their root, behind addresses."""

import logging
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import obstore
import obstore.store
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pickapic_factory import Row, jpeg, rows, with_raw, write

from ranking import plan
from ranking.datasets import Dataset, Source, get_dataset
from ranking.errors import SourceError
from ranking.images import MAX_BYTES, Found, ImageError, ImageReader
from ranking.ingest import ingest
from ranking.store.blobs import Store


def test_every_image_of_a_dataset_is_found_by_its_uid(store: Store, dataset: Dataset) -> None:
    wanted = [f"img-{i}" for i in range(15)]
    images = ImageReader(store, dataset).read([*wanted, "no-such-image"])
    assert images == {uid: jpeg(uid) for uid in wanted}


def test_the_images_of_a_slice_are_read_by_pointer(store: Store, dataset: Dataset) -> None:
    job = plan.create_plan(store, dataset.name, ["a@00000000"])
    reader = ImageReader(store, dataset)
    for piece in job.slices:
        items = plan.read_items(store, job, piece)
        assert reader.read_items(items) == {uid: jpeg(uid) for uid in items["image_uid"].to_pylist()}


def test_images_of_later_revisions_are_found_too(store: Store, dataset: Dataset, tmp_path: Path) -> None:
    ingest(store, write(tmp_path / "more.parquet", [Row("later", "new-0", "new-1")]), dataset.name)
    images = ImageReader(store, get_dataset(store, dataset.name)).read(["img-0", "new-1"])
    assert images == {"img-0": jpeg("img-0"), "new-1": jpeg("new-1")}


def test_a_null_cell_and_a_file_without_image_columns_read_as_none(store: Store, tmp_path: Path) -> None:
    source = tmp_path / "source"
    write(source / "a.parquet", [with_raw(Row("cat", "a", "b"), jpg_0=None)])
    write(source / "b.parquet", [Row("dog", "c", "d")], without=["jpg_0", "jpg_1"])
    ingest(store, source, "bare")
    assert ImageReader(store, get_dataset(store, "bare")).read(["a", "b", "c"]) == {
        "a": None,
        "b": jpeg("b"),
        "c": None,
    }


def test_a_source_that_moved_or_changed_is_a_clear_error(store: Store, dataset: Dataset) -> None:
    path = Path(dataset.sources[0].uri)
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(SourceError, match="has changed") as caught:
        ImageReader(store, dataset).read(["img-0"])
    assert caught.value.code == "source-changed"
    path.unlink()
    with pytest.raises(SourceError, match="is gone"):
        ImageReader(store, dataset).read(["img-0"])


def test_a_source_that_is_damaged_inside_is_a_clear_error(store: Store, tmp_path: Path) -> None:
    path = write(tmp_path / "pairs.parquet", rows(4))
    ingest(store, path, "pets")
    path.write_bytes(b"PAR1" + bytes(path.stat().st_size - 8) + b"PAR1")
    with pytest.raises(SourceError, match="cannot be read"):
        ImageReader(store, get_dataset(store, "pets")).read(["img-0"])


def test_images_come_in_the_order_in_which_they_lie_whatever_was_asked(store: Store, tmp_path: Path) -> None:
    write(tmp_path / "source" / "a.parquet", rows(40), row_group_size=7)
    write(tmp_path / "source" / "b.parquet", rows(40, first=100), row_group_size=7)
    ingest(store, tmp_path / "source", "pets")
    reader = ImageReader(store, get_dataset(store, "pets"))
    places = reader.places(f"img-{i}" for i in range(200))
    lie = places.sort_by([(name, "ascending") for name in ("source", "row_group", "column", "row")])
    asked = places.take(pa.array(sorted(range(len(places)), key=lambda i: (i * 7919) % 101)))
    assert [uid for uid, _ in reader.read_each(asked)] == lie["image_uid"].to_pylist()
    assert dict(reader.read_each(asked)) == {uid: jpeg(uid) for uid in lie["image_uid"].to_pylist()}
    assert len(lie) == 86


POINTER = pa.schema(
    [
        ("image_uid", pa.string()),
        ("source", pa.int32()),
        ("row_group", pa.int32()),
        ("row", pa.int64()),
        ("column", pa.string()),
        ("file", pa.string()),
    ]
)


def pointers(files: Mapping[str, str | None]) -> pa.Table:
    return pa.Table.from_pylist([{"image_uid": uid, "source": 0, "file": file} for uid, file in files.items()], POINTER)


def of(source: Source) -> Dataset:
    """A dataset of one source, of which nothing but that is known."""
    files = {"sources": (source,), "pairs_files": (), "items_files": (), "ratings_files": (), "slices": ()}
    counts = {"revision": 1, "n_pairs": 0, "n_items": 0, "skipped": {}}
    return Dataset(name="pets", revision_sha="", format="", created="", **files, **counts)


def at_root(store: Store, root: Path | str, **options: object) -> ImageReader:
    return ImageReader(store, of(Source(0, "/nowhere/index.json", str(root), 1, "0" * 64, 1)), **options)


def status(found: Found) -> str:
    return found.status if isinstance(found, ImageError) else "bytes" if found is not None else "nothing"


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of image files, with a secret beside it."""
    root = tmp_path / "pictures"
    (root / "deep" / "er").mkdir(parents=True)
    (root / "a.jpg").write_bytes(b"a")
    (root / "deep" / "er" / "b.jpg").write_bytes(b"b")
    (root / "deep" / "..a.jpg").write_bytes(b"dots")
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "pictures-2").mkdir()
    (tmp_path / "pictures-2" / "c.jpg").write_bytes(b"secret")
    return root


def test_image_files_are_read_below_the_root_of_their_source(store: Store, pictures: Path) -> None:
    (pictures / "link.jpg").symlink_to(pictures / "deep" / "er" / "b.jpg")
    files = {"a": "a.jpg", "b": "deep/er/b.jpg", "dots": "deep/..a.jpg", "link": "link.jpg", "up": "deep/../a.jpg"}
    found = at_root(store, pictures).read_items(pointers(files | {"none": None}))
    assert found == {"a": b"a", "b": b"b", "dots": b"dots", "link": b"b", "up": b"a", "none": None}


def test_a_root_that_is_a_link_itself_is_followed(store: Store, pictures: Path) -> None:
    (pictures.parent / "alias").symlink_to(pictures)
    assert at_root(store, pictures.parent / "alias").read_items(pointers({"a": "a.jpg"})) == {"a": b"a"}


@pytest.mark.parametrize(
    "file",
    ["../secret", "deep/../../secret", "/etc/passwd", "out", "folder-out/secret", "../pictures-2/c.jpg", "chain"],
)
def test_no_file_outside_the_root_is_read(store: Store, pictures: Path, file: str) -> None:
    (pictures / "out").symlink_to(pictures.parent / "secret")
    (pictures / "folder-out").symlink_to(pictures.parent)
    (pictures / "chain").symlink_to("deep/../out")
    found = at_root(store, pictures).read_items(pointers({"x": file}))["x"]
    assert isinstance(found, ImageError)
    assert (found.status, "outside" in str(found)) == ("missing", True)


@pytest.mark.parametrize("file", ["no.jpg", "a.jpg/b", "deep", "", "pipe", "loop", "x" * 5000, "a\0b", "dangling"])
def test_what_is_no_plain_file_is_missing(store: Store, pictures: Path, file: str) -> None:
    os.mkfifo(pictures / "pipe")
    (pictures / "loop").symlink_to("loop")
    (pictures / "dangling").symlink_to("nothing")
    found = at_root(store, pictures).read_items(pointers({"x": file, "a": "a.jpg"}))
    assert (status(found["x"]), found["a"]) == ("missing", b"a")


def test_an_image_file_above_the_cap_is_not_read(store: Store, pictures: Path) -> None:
    with (pictures / "huge.jpg").open("wb") as file:
        file.truncate(MAX_BYTES * 1000)
    found = at_root(store, pictures).read_items(pointers({"x": "huge.jpg"}))["x"]
    assert (status(found), str(MAX_BYTES * 1000) in str(found)) == ("too_large", True)


def test_a_folder_of_images_that_is_gone_is_an_error_and_no_lot_of_missing_images(store: Store, pictures: Path) -> None:
    pictures.rename(pictures.with_name("elsewhere"))
    with pytest.raises(SourceError, match="is gone") as caught:
        at_root(store, pictures).read_items(pointers({"a": "a.jpg"}))
    assert caught.value.code == "source-gone"


def test_addresses_are_not_fetched_unless_something_fetches(
    store: Store, pictures: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = {f"{host}{i}": f"https://{host}.invalid/{i}.jpg" for host in "ab" for i in range(30)}
    reader = at_root(store, pictures)
    with caplog.at_level(logging.WARNING):
        found = reader.read_items(pointers(files | {"local": "a.jpg"}))
    assert {status(found[uid]) for uid in files} == {"missing"} and found["local"] == b"a"
    assert sorted(record.args[0] for record in caplog.records) == ["a.invalid", "b.invalid"]
    assert all("PAIRSIEVE_IMAGE_URLS" in record.getMessage() for record in caplog.records)


def test_what_is_fetched_comes_in_order_and_what_is_not_has_its_status(store: Store, pictures: Path) -> None:
    def fetch(address: str) -> bytes:
        if address.endswith("7"):
            raise ImageError("too much", status="too_large")
        return address.encode()

    files = {f"img-{i:02}": f"https://a.invalid/{i:02}" for i in range(30)}
    found = at_root(store, pictures, fetch=fetch).read_items(pointers(files))
    assert list(found) == sorted(files)
    assert [uid for uid in files if status(found[uid]) == "too_large"] == ["img-07", "img-17", "img-27"]
    assert all(found[uid] == file.encode() for uid, file in files.items() if not file.endswith("7"))


def test_an_image_is_read_by_the_first_of_its_pointers_that_leads_anywhere(store: Store, pictures: Path) -> None:
    twice = pa.concat_tables([pointers({"a": None}), pointers({"a": "a.jpg"}), pointers({"a": "deep/er/b.jpg"})])
    assert at_root(store, pictures).read_items(twice) == {"a": b"a"}


def remote(dataset: Dataset) -> Dataset:
    """The same sources as if they lay elsewhere: opened as remote ones are, by their address."""
    return replace(dataset, sources=tuple(replace(source, uri=f"file://{source.uri}") for source in dataset.sources))


def test_cells_of_remote_sources_are_read_the_same(store: Store, dataset: Dataset) -> None:
    wanted = [f"img-{i}" for i in range(15)]
    assert ImageReader(store, remote(dataset)).read(wanted) == {uid: jpeg(uid) for uid in wanted}


def test_a_remote_source_that_changed_or_went_is_a_clear_error(store: Store, dataset: Dataset) -> None:
    path = Path(dataset.sources[0].uri)
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(SourceError, match="has changed"):
        ImageReader(store, remote(dataset)).read(["img-0"])
    path.unlink()
    with pytest.raises(SourceError, match="is gone") as caught:
        ImageReader(store, remote(dataset)).read(["img-0"])
    assert caught.value.code == "source-gone"


def test_image_files_of_a_remote_folder_are_read_below_it(store: Store, pictures: Path) -> None:
    files = {"a": "a.jpg", "b": "deep/er/b.jpg", "gone": "no.jpg", "up": "../secret", "root": "/etc/passwd"}
    found = at_root(store, f"file://{pictures}").read_items(pointers(files))
    assert (found["a"], found["b"]) == (b"a", b"b")
    assert {status(found[uid]) for uid in ("gone", "up", "root")} == {"missing"}


def test_a_source_that_is_replaced_by_one_of_the_same_size_is_read_anew(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "pairs.parquet"
    pq.write_table(pa.table({"jpg": [b"one", b"two"]}), path)
    source = Source(0, str(path), str(tmp_path), path.stat().st_size, "0" * 64, 2)
    reader = ImageReader(store, of(source))
    place = {"image_uid": "x", "source": 0, "row_group": 0, "row": 1, "column": "jpg"}
    assert reader.read_items(pa.Table.from_pylist([place], POINTER)) == {"x": b"two"}
    old = path.stat()
    pq.write_table(pa.table({"jpg": [b"ONE", b"TWO"]}), path)
    os.utime(path, ns=(old.st_atime_ns, old.st_mtime_ns + 1))
    assert path.stat().st_size == old.st_size
    assert reader.read_items(pa.Table.from_pylist([place], POINTER)) == {"x": b"TWO"}


def put(uri: str, data: bytes) -> None:
    """Put an object into the test's bucket."""
    name, _, key = uri.removeprefix("s3://").partition("/")
    obstore.put(obstore.store.S3Store(name, client_options={"allow_http": True}), key, data)


def test_images_in_a_bucket_are_read_by_pointer(store: Store, bucket: str, tmp_path: Path) -> None:
    for part in range(2):
        source = write(tmp_path / f"{part}.parquet", rows(6, first=6 * part), row_group_size=4)
        put(f"{bucket}/set/{part}.parquet", source.read_bytes())
    ingest(store, f"{bucket}/set", "far")
    dataset = get_dataset(store, "far")
    wanted = [f"img-{i}" for i in range(15)]
    assert ImageReader(store, dataset).read(wanted) == {uid: jpeg(uid) for uid in wanted}
    put(f"{bucket}/set/1.parquet", b"another")
    with pytest.raises(SourceError, match="has changed"):
        ImageReader(store, dataset).read(wanted)


def test_image_files_in_a_bucket_are_read_below_their_root(store: Store, bucket: str) -> None:
    put(f"{bucket}/set/deep/a b+ü.jpg", b"a")
    put(f"{bucket}/secret", b"secret")
    put(f"{bucket}/set/huge.jpg", bytes(MAX_BYTES + 1))
    files = {"a": "deep/a b+ü.jpg", "up": "../secret", "gone": "no.jpg", "huge": "huge.jpg"}
    found = at_root(store, f"{bucket}/set").read_items(pointers(files))
    assert found["a"] == b"a"
    assert {uid: status(found[uid]) for uid in ("up", "gone", "huge")} == {
        "up": "missing",
        "gone": "missing",
        "huge": "too_large",
    }
