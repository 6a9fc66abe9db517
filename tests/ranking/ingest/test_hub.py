"""Datasets on the hub: one commit for all files, hashes without downloads, ranges only, clear lines when it fails."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_server import COMMIT, Hub, hub_server
from pickapic_factory import rows, with_raw, write

from ranking.datasets import get_dataset
from ranking.errors import SourceError
from ranking.ingest import hub as client
from ranking.ingest import ingest
from ranking.ingest.sources import find_sources, folder_of, open_uri
from ranking.store.blobs import Store

BASE = f"hf://datasets/org/pairs@{COMMIT}"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setattr(client.time, "sleep", lambda seconds: None)
    with hub_server() as found:
        monkeypatch.setenv("HF_ENDPOINT", found.url)
        yield found


def parquet(folder: Path, name: str, first: int, *, picture: int = 0) -> bytes:
    judged = (
        [with_raw(row, jpg_0=os.urandom(picture)) for row in rows(4, first=first)] if picture else rows(4, first=first)
    )
    return write(folder / name, judged).read_bytes()


def test_the_revision_becomes_a_commit_and_large_files_know_their_hash(hub: Hub, tmp_path: Path) -> None:
    hub.files = {f"data/{i}.parquet": parquet(tmp_path, f"{i}.parquet", i) for i in range(5)}
    names = [*(f"{i}.parquet" for i in range(5)), "notes.csv"]
    hub.files |= {"data/notes.csv": b"a,b", "data/.cache/x.parquet": b"x", "README.md": b"x"}
    found = find_sources("hf://datasets/org/pairs@v1/data", [".parquet", ".csv"])
    assert [file.uri for file in found] == [f"{BASE}/data/{name}" for name in names]
    assert {file.root for file in found} == {f"{BASE}/data"}
    assert [file.sha256 is not None for file in found] == [True] * 5 + [False]
    assert [file.bytes for file in found[:5]] == [len(hub.files[f"data/{i}.parquet"]) for i in range(5)]
    assert sum("/revision/" in path for _, path, _ in hub.asked) == 1
    assert set(hub.tokens) == {"Bearer hf_secret"}


def test_a_dataset_without_a_path_is_all_its_files_and_a_path_one(hub: Hub) -> None:
    hub.files = {"a.csv": b"x", "b/c.csv": b"xyz"}
    assert [file.uri for file in find_sources("hf://datasets/org/pairs", [".csv"])] == [
        f"{BASE}/a.csv",
        f"{BASE}/b/c.csv",
    ]
    (one,) = find_sources("hf://datasets/org/pairs/b/c.csv", [".parquet"])
    assert (one.uri, one.root, one.bytes) == (f"{BASE}/b/c.csv", f"{BASE}/b", 3)
    assert folder_of("hf://datasets/org/pairs@main/b") == f"{BASE}/b"
    with open_uri(f"{BASE}/b/c.csv") as handle:
        assert (handle.seek(1), handle.read()) == (1, b"yz")


def test_metadata_are_ingested_without_the_images(hub: Hub, store: Store, tmp_path: Path) -> None:
    hub.files = {"data/a.parquet": parquet(tmp_path, "a.parquet", 0, picture=2_000_000)}
    report = ingest(store, "hf://datasets/org/pairs/data", "far")
    assert (report.pairs_added, report.format) == (4, "pickapic")
    assert hub.sent < len(hub.files["data/a.parquet"]) / 4
    (source,) = get_dataset(store, "far").sources
    assert source.uri == f"{BASE}/data/a.parquet"
    # The same bytes from a folder are the same source.
    assert ingest(store, tmp_path / "a.parquet", "far").created is False


def test_ranges_come_from_where_the_hub_redirects_to_without_the_token(hub: Hub) -> None:
    with hub_server() as other:
        other.files = hub.files = {"a.csv": bytes(range(256))}
        hub.elsewhere = other.url.replace("127.0.0.1", "localhost")
        with open_uri(f"{BASE}/a.csv", size=256) as handle:
            handle.seek(250)
            assert handle.read() == bytes(range(250, 256))
        assert [asked[2] for asked in other.asked] == ["bytes=250-255"]
        assert other.tokens == [None]


def test_a_server_without_ranges_gives_the_whole_file_and_we_take_our_part(hub: Hub) -> None:
    hub.files, hub.ranges = {"a.csv": bytes(range(256))}, False
    with open_uri(f"{BASE}/a.csv", size=256) as handle:
        handle.seek(250)
        assert handle.read() == bytes(range(250, 256))
    with open_uri(f"{BASE}/a.csv", size=300) as handle, pytest.raises(OSError, match="answered 200 where a range"):
        handle.read(10)
    hub.files = {"a.csv": bytes(20_000_000)}
    with open_uri(f"{BASE}/a.csv", size=20_000_000) as handle, pytest.raises(OSError, match="longer than"):
        handle.read(10)
    assert hub.asked[-1][2] == "bytes=0-65535"


@pytest.mark.parametrize(
    ("source", "wrong", "message"),
    [
        ("org/absent/x", {}, "org/absent/x does not exist, or is private; .*HF_TOKEN"),
        ("org/pairs@absent/x", {}, "does not exist; check revision"),
        ("org/pairs/absent.csv", {}, "does not exist; check the path"),
        ("org/pairs", {"/revision/": (401, {}, b"")}, "does not exist, or may not be read; .*HF_TOKEN"),
        ("org/pairs", {"/revision/": (403, {}, b"")}, "may not be read; check HF_TOKEN"),
        ("org/pairs", {"/revision/": (403, {"X-Error-Code": "GatedRepo"}, b"")}, "is gated"),
        ("org/pairs", {"/tree/": (500, {}, b"")}, "answers 500; try again later"),
        ("org/pairs", {"/tree/": (503, {"Retry-After": "1"}, b"")}, "answers 503"),
        ("org/pairs", {"/tree/": (200, {}, b"<html>")}, "answer is odd, it is not JSON"),
        ("org/pairs", {"/tree/": (200, {}, b'{"a": 1}')}, "answer is odd, it is not a list"),
        ("org/pairs", {"/tree/": (200, {}, b'[{"type": "file", "path": "a"}]')}, "answer is odd, it lists a file"),
        ("org/pairs", {"/revision/": (200, {}, b'{"sha": "../.."}')}, "answer is odd, it does not say which commit"),
        ("org/pairs", {"/revision/": (302, {"Location": "/loop/revision/"}, b"")}, "redirect"),
        ("org/pairs", {"/revision/": (302, {}, b"")}, "answer is odd"),
    ],
)
def test_a_hub_that_refuses_is_said_in_one_line(
    hub: Hub, source: str, wrong: dict[str, tuple[int, dict[str, str], bytes]], message: str
) -> None:
    hub.wrong = wrong
    with pytest.raises(SourceError, match=message) as caught:
        find_sources(f"hf://datasets/{source}", [".csv"])
    assert "\n" not in str(caught.value)
    assert "hf_secret" not in str(caught.value)


def test_a_passing_failure_is_tried_again(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.files = {"a.csv": b"x"}
    hub.wrong = {"/tree/": (503, {}, b"")}
    monkeypatch.setattr(client.time, "sleep", lambda seconds: hub.wrong.clear())
    assert [file.name for file in find_sources("hf://datasets/org/pairs", [".csv"])] == ["a.csv"]


def test_without_a_network_there_is_one_line(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(SourceError, match=r"does not answer .*check the network, or HF_ENDPOINT"):
        find_sources("hf://datasets/org/pairs", [".csv"])
    with open_uri(f"{BASE}/a.csv", size=9) as handle, pytest.raises(OSError, match="does not answer"):
        handle.read()


def test_a_file_that_breaks_off_while_it_is_ingested_publishes_nothing(hub: Hub, store: Store, tmp_path: Path) -> None:
    hub.files = {"a.parquet": parquet(tmp_path, "a.parquet", 0)}
    hub.wrong = {"/resolve/": (404, {"X-Error-Code": "EntryNotFound"}, b"")}
    with pytest.raises(SourceError, match=r"a\.parquet") as caught:
        ingest(store, "hf://datasets/org/pairs", "far")
    assert "\n" not in str(caught.value)
    assert store.list("datasets") == []
