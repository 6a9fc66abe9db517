"""The store's one primitive: a key is created once, completely, and keys cannot leave the root. The same in a folder
and in a bucket, except where a test says so."""

import errno
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ranking.errors import NotFoundError, StoreError
from ranking.names import sha256_hex
from ranking.store.blobs import Store


@pytest.fixture(params=["folder", "bucket"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """An empty store of either kind."""
    return Store.open(tmp_path / "store" if request.param == "folder" else request.getfixturevalue("bucket"))


@pytest.fixture
def folder(tmp_path: Path) -> Store:
    """An empty store in a folder."""
    return Store.open(tmp_path / "store")


def test_the_first_writer_wins_and_the_bytes_stay(store: Store) -> None:
    assert store.put_if_absent("plans/a.json", b"first")
    assert not store.put_if_absent("plans/a.json", b"second")
    assert store.get("plans/a.json") == b"first"


def test_of_many_threads_exactly_one_wins(store: Store) -> None:
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda i: store.put_if_absent("commits/x/u.json", str(i).encode()), range(32)))
    assert won.count(True) == 1
    assert store.get("commits/x/u.json") == str(won.index(True)).encode()


def test_nothing_is_left_in_tmp(store: Store) -> None:
    store.put_if_absent("a/b", b"1")
    store.put_if_absent("a/b", b"2")
    assert list(store.tmp().iterdir()) == []


def test_a_folder_for_unfinished_files_goes_with_what_is_left_in_it(folder: Store) -> None:
    with pytest.raises(KeyError), folder.unfinished("run 12") as place:
        (place / "half").write_bytes(b"1")
        raise KeyError
    assert place.parent == folder.tmp() and not place.exists()
    folder.tmp().rmdir()
    with pytest.raises(StoreError, match="run 12 cannot be written"), folder.unfinished("run 12"):
        pytest.fail("there is no place for it")


def test_a_finished_file_moves_to_its_key_once(store: Store) -> None:
    for content, won in ((b"one", True), (b"two", False)):
        finished = store.tmp() / "finished"
        finished.write_bytes(content)
        assert store.put_file("data/f.parquet", finished) is won
        assert not finished.exists()
    assert store.get("data/f.parquet") == b"one"


def test_a_missing_key_is_not_found(store: Store) -> None:
    store.put_if_absent("a/b", b"1")
    for key in ("a/c", "a", "a/b/c", "nothing/here"):
        with pytest.raises(NotFoundError):
            store.get(key)
        assert not store.exists(key)


def test_keys_are_listed_by_folder_and_sorted(store: Store) -> None:
    for key in ("a/2", "a/10", "a/b/1", "ab/1"):
        store.put_if_absent(key, b"")
    assert store.list("a") == store.list("a/") == ["a/10", "a/2", "a/b/1"]
    assert store.list("none") == []


@pytest.mark.parametrize("key", ["", "/etc/passwd", "..", "a/../b", "a//b", "./a", "a/.", "a\\b", "a/", "a\0b"])
def test_a_key_that_could_leave_the_root_is_refused(store: Store, key: str) -> None:
    with pytest.raises(StoreError):
        store.put_if_absent(key, b"")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(key=st.text(alphabet="ab./\\~\0", max_size=12))
def test_whatever_the_key_its_file_is_inside_the_root(folder: Store, key: str) -> None:
    outside = sorted(folder.workspace.parent.iterdir())
    try:
        created = folder.put_if_absent(key, b"")
    except StoreError:
        return
    assert created == (key in folder.list(""))
    folder.delete(key)
    assert sorted(folder.workspace.parent.iterdir()) == outside


def test_only_hints_may_be_overwritten(store: Store) -> None:
    assert store.get_hint("hints/beat") is None
    store.put_hint("hints/beat", b"1")
    store.put_hint("hints/beat", b"2")
    assert store.get_hint("hints/beat") == b"2"
    with pytest.raises(StoreError, match="may not be overwritten"):
        store.put_hint("commits/x", b"")


def test_damage_is_seen_when_a_file_is_checked(store: Store) -> None:
    store.put_if_absent("data/f", b"g00d")
    assert store.checked_path("data/f", sha256_hex(b"g00d")).read_bytes() == b"g00d"
    with pytest.raises(StoreError, match="data/f is damaged"):
        store.checked_path("data/f", sha256_hex(b"good"))
    with pytest.raises(StoreError, match="missing"):
        store.checked_path("data/g", sha256_hex(b"good"))


def test_many_files_are_checked_at_once_in_their_order(store: Store) -> None:
    files = [(f"data/{index}", sha256_hex(str(index).encode())) for index in range(20)]
    for key, _ in files:
        store.put_if_absent(key, key.removeprefix("data/").encode())
    assert [path.read_text() for path in store.checked_paths(files)] == [str(index) for index in range(20)]
    assert store.checked_paths([]) == []
    files[7] = ("data/7", sha256_hex(b"8"))
    with pytest.raises(StoreError, match="data/7 is damaged"):
        store.checked_paths(files)


def test_a_file_is_there_in_the_folder_that_its_key_says(store: Store) -> None:
    for key in ("runs/r/out/config.json", "runs/r/out/unet/weights", "runs/other"):
        store.put_if_absent(key, key.encode())
    found = store.local_folder("runs/r/out")
    assert (found / "config.json").read_text() == "runs/r/out/config.json"
    assert (found / "unet" / "weights").read_text() == "runs/r/out/unet/weights"
    with pytest.raises(NotFoundError):
        store.local_folder("runs/none")


def test_the_children_of_a_folder_are_its_keys_and_folders(store: Store) -> None:
    for key in ("a/b/1", "a/b/2", "a/c", "d", "hints/x/y"):
        store.put_if_absent(key, b"")
    assert store.children("a") == ["b", "c"]
    assert set(store.children("")) - {"selftest"} == {"a", "d", "hints"}
    assert store.children("none") == []


def test_entries_have_sizes_and_ages(store: Store) -> None:
    before = time.time()
    store.put_if_absent("a/1", b"123")
    store.put_if_absent("a/b/2", b"")
    assert [(entry.key, entry.bytes) for entry in store.entries("a")] == [("a/1", 3), ("a/b/2", 0)]
    assert all(before - 2 <= entry.modified <= time.time() + 2 for entry in store.entries("a"))
    assert store.entry("a/1") == store.entries("a")[0]
    assert store.entry("a") is None


def test_a_blob_moves_with_its_bytes_and_one_that_is_gone_does_not(store: Store) -> None:
    store.put_if_absent("a/1", b"123")
    assert store.local("a/1").read_bytes() == b"123"
    store.move("a/1", "trash/a/1")
    assert (store.exists("a/1"), store.get("trash/a/1")) == (False, b"123")
    with pytest.raises(NotFoundError):
        store.local("a/1")
    store.move("a/1", "trash/a/2")
    assert store.list("") == ["trash/a/1"]
    assert store.put_if_absent("a/1", b"456")
    assert store.local("a/1").read_bytes() == b"456"


def test_a_deleted_key_may_be_created_again(store: Store) -> None:
    store.put_if_absent("a", b"1")
    store.delete("a")
    store.delete("a")
    assert store.put_if_absent("a", b"2")
    assert store.get("a") == b"2"


def test_deleting_what_is_no_key_does_nothing(store: Store) -> None:
    store.put_if_absent("a/b", b"1")
    for key in ("a", "a/b/c", "c"):
        store.delete(key)
    assert store.list("") == ["a/b"]


def test_a_digest_is_that_of_the_bytes(store: Store) -> None:
    store.put_if_absent("a", b"1" * 100_000)
    assert store.digest("a") == sha256_hex(b"1" * 100_000)
    assert store.digest("b") is None


@pytest.mark.parametrize("key", ["data/x@0a/b~c", "data/ü 1", "data/100%25", "data/a+b=c&d#e", "data/'q\"<>[*]?"])
def test_a_key_is_listed_as_it_was_given(store: Store, key: str) -> None:
    assert store.put_if_absent(key, b"1")
    assert (store.list("data"), store.get(key)) == ([key], b"1")
    assert store.local(key).read_bytes() == b"1"


def test_an_empty_file_is_a_file(store: Store) -> None:
    finished = store.tmp() / "finished"
    finished.touch()
    assert store.put_file("data/empty", finished)
    assert store.get("data/empty") == store.local("data/empty").read_bytes() == b""


def test_a_store_opens_twice_and_keeps_what_it_has(store: Store) -> None:
    store.put_if_absent("a", b"1")
    again = Store.open(store.uri)
    assert again.get("a") == b"1"
    assert again.list("") == ["a"]
    assert again.usable() is None


def test_a_relative_store_does_not_move_with_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = Store.open("./here")
    monkeypatch.chdir("/")
    assert store.put_if_absent("a", b"1")
    assert (tmp_path / "here" / "a").is_file()


def test_an_object_store_is_refused_clearly() -> None:
    with pytest.raises(StoreError, match="of a kind we do not have"):
        Store.open("gopher://bucket/prefix")


def test_a_file_in_the_way_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for uri in (tmp_path / "file", tmp_path / "file" / "store"):
        with pytest.raises(StoreError, match="cannot be used") as caught:
            Store.open(uri)
        assert caught.value.code == "store-unusable"


@pytest.mark.parametrize("reason", [errno.EPERM, errno.EACCES, errno.EROFS, errno.ENOSPC])
def test_a_disk_that_refuses_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: int) -> None:
    def refuse(*_: object) -> None:
        raise OSError(reason, os.strerror(reason))

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(StoreError, match="cannot be used"):
        Store.open(tmp_path / "store")
    assert list((tmp_path / "store" / "tmp").iterdir()) == []


def test_a_file_system_on_which_links_overwrite_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def overwrite(source: Path, target: Path) -> None:
        target.write_bytes(source.read_bytes())

    monkeypatch.setattr(os, "link", overwrite)
    with pytest.raises(StoreError, match="second writer"):
        Store.open(tmp_path / "store")


def test_a_full_disk_leaves_no_key(folder: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    key = f"data/{uuid4().hex}"
    with pytest.raises(StoreError, match="No space left"):
        folder.put_if_absent(key, b"half")
    assert not folder.exists(key)
    assert list(folder.tmp().iterdir()) == []
