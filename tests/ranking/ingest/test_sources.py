"""Sources: which files a name stands for, here and in a bucket, and that what cannot be read is said in one line."""

import os
from pathlib import Path

import obstore
import pytest
from hypothesis import given
from hypothesis import strategies as st
from obstore.store import S3Store
from pickapic_factory import rows, write

from ranking.datasets import get_dataset
from ranking.errors import PairsieveError, SourceError, UsageError
from ranking.ingest import ingest
from ranking.ingest.ranged import ranged
from ranking.ingest.sources import find_sources, folder_of, open_uri, unchanged
from ranking.store.blobs import Store


def names(source: str | Path) -> list[str]:
    return [file.name for file in find_sources(source, [".parquet", ".csv"])]


def put(uri: str, files: dict[str, bytes]) -> None:
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    options = {"allow_http": True}
    store = S3Store(bucket, prefix=prefix, endpoint=os.environ["AWS_ENDPOINT_URL"], client_options=options)
    for name, data in files.items():
        obstore.put(store, name, data)


def test_a_folder_is_its_files_of_the_right_kind_by_path(tmp_path: Path) -> None:
    for name in ("b.parquet", "a/z.PARQUET", "a/notes.txt", "c.csv", ".hidden.csv", ".cache/d.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert names(tmp_path) == ["z.PARQUET", "b.parquet", "c.csv"]
    assert {file.root for file in find_sources(tmp_path, [".csv"])} == {str(tmp_path)}


def test_a_file_is_taken_whatever_it_is_called(tmp_path: Path) -> None:
    (tmp_path / "pairs").write_bytes(b"xyz")
    for source in (tmp_path / "pairs", f"file://{tmp_path}/pairs"):
        (file,) = find_sources(source, [".parquet"])
        assert (file.uri, file.root, file.bytes) == (str(tmp_path / "pairs"), str(tmp_path), 3)
        with open_uri(file.uri) as handle:
            assert handle.read() == b"xyz"


def test_links_are_followed_and_circles_end(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.csv").write_bytes(b"x")
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "src" / "b.csv").symlink_to(tmp_path / "elsewhere" / "a.csv")
    (tmp_path / "elsewhere" / "up").symlink_to(tmp_path / "src")
    assert names(tmp_path / "src") == ["b.csv", "a.csv"]


@pytest.mark.parametrize(
    ("source", "kind", "message"),
    [
        ("absent", SourceError, "does not exist"),
        ("empty", SourceError, r"no file that ends in .*\.csv"),
        ("pipe", SourceError, "neither a file nor a folder"),
        ("ftp://host/x", UsageError, "of a kind we cannot read"),
        ("file://host/x", UsageError, "on another machine"),
        ("s3://", UsageError, "names no bucket"),
        ("s3:///prefix", UsageError, "names no bucket"),
        ("s3://key:secret@host/bucket", UsageError, "names no bucket"),
        ("hf://org/name", UsageError, "no address of a dataset"),
        ("hf://datasets/name", UsageError, "no address of a dataset"),
        ("hf://datasets/org/name/../x", UsageError, "no address of a dataset"),
        ("a\0b", UsageError, "zero byte"),
    ],
)
def test_what_is_no_source_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, kind: type[PairsieveError], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(kind, match=message) as caught:
        names(source)
    assert "secret" not in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_said_in_one_line(tmp_path: Path) -> None:
    for mode in (0o000, 0o200):
        (tmp_path / "a.csv").write_bytes(b"x")
        (tmp_path / "a.csv").chmod(mode)
        with pytest.raises(SourceError, match=r"a\.csv cannot be read .*check its permissions"):
            names(tmp_path / "a.csv")
        (tmp_path / "a.csv").chmod(0o600)
    (tmp_path / "locked").mkdir(mode=0o000)
    with pytest.raises(SourceError, match="locked cannot be read"):
        names(tmp_path)
    (tmp_path / "locked").chmod(0o700)


def test_a_change_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"x")
    (file,) = find_sources(tmp_path, [".csv"])
    assert unchanged(file)
    (tmp_path / "a.csv").write_bytes(b"xy")
    assert not unchanged(file)
    (tmp_path / "a.csv").unlink()
    with pytest.raises(SourceError, match="does not exist"):
        unchanged(file)


def test_a_folder_of_images_must_be_there(tmp_path: Path) -> None:
    assert folder_of(tmp_path) == str(tmp_path)
    with pytest.raises(SourceError, match=r"folder of images .*absent does not exist"):
        folder_of(tmp_path / "absent")


@given(data=st.binary(max_size=600), moves=st.lists(st.tuples(st.integers(0, 700), st.integers(-1, 300)), max_size=8))
def test_a_file_read_by_ranges_reads_like_any_other(data: bytes, moves: list[tuple[int, int]]) -> None:
    def fetch(start: int, end: int) -> bytes:
        assert 0 <= start < end <= len(data)
        return data[start:end]

    with ranged("x", len(data), fetch) as file:
        for at, count in moves:
            assert file.seek(at) == at
            assert file.read(count) == (data[at:] if count < 0 else data[at : at + count])


def test_a_range_that_comes_short_is_an_error_and_not_an_early_end() -> None:
    with ranged("x", 100, lambda start, end: b"short") as file, pytest.raises(OSError, match="5 bytes where 100"):
        file.read(100)


def test_a_bucket_is_ingested_as_a_folder_is(store: Store, bucket: str, tmp_path: Path) -> None:
    for part in range(2):
        write(tmp_path / "src" / f"{part}.parquet", rows(4, first=10 * part), row_group_size=2)
    files = {f"set/{path.name}": path.read_bytes() for path in (tmp_path / "src").iterdir()}
    put(bucket, {**files, "set/.hidden.parquet": b"x", "set/readme.md": b"x", "settle.parquet": b"x"})
    report = ingest(store, f"{bucket}/set", "far")
    assert (report.sources_added, report.pairs_added) == (2, 8)
    near = ingest(store, tmp_path / "src", "near")
    far = get_dataset(store, "far")
    assert [source.sha256 for source in far.sources] == [s.sha256 for s in get_dataset(store, "near").sources]
    assert near.pairs_added == 8
    assert [source.uri for source in far.sources] == [f"{bucket}/set/{part}.parquet" for part in range(2)]
    assert {source.root for source in far.sources} == {f"{bucket}/set"}
    with open_uri(far.sources[1].uri) as handle:
        handle.seek(-4, os.SEEK_END)
        assert handle.read() == b"PAR1"
    assert ingest(store, f"{bucket}/set/0.parquet", "far").created is False


def test_a_bucket_that_cannot_be_read_is_said_in_one_line(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for source, message in (
        (f"{bucket}/absent.parquet", "does not exist"),
        ("s3://no-such-bucket-here/x.parquet", "does not exist|cannot be reached"),
    ):
        with pytest.raises(SourceError, match=message) as caught:
            names(source)
        assert "not-to-be-shown" not in str(caught.value)
    with pytest.raises(SourceError, match="does not exist"):
        open_uri(f"{bucket}/absent.parquet")
    put(bucket, {"a.csv": b"x"})
    (file,) = find_sources(f"{bucket}/a.csv", [".csv"])
    assert unchanged(file)
    put(bucket, {"a.csv": b"y"})
    assert not unchanged(file)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://192.0.2.1")
    with pytest.raises(UsageError, match="reached by http"):
        names(f"{bucket}/a.csv")
