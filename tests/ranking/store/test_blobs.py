"""The store's one primitive: a key is created once, completely, and keys cannot leave the root."""

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ranking.errors import NotFoundError, StoreError
from ranking.names import sha256_hex
from ranking.store.blobs import Store


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
def test_whatever_the_key_its_file_is_inside_the_root(store: Store, key: str) -> None:
    outside = sorted(store.workspace.parent.iterdir())
    try:
        created = store.put_if_absent(key, b"")
    except StoreError:
        return
    assert created == (key in store.list(""))
    store.delete(key)
    assert sorted(store.workspace.parent.iterdir()) == outside


def test_only_hints_may_be_overwritten(store: Store) -> None:
    assert store.get_hint("hints/beat") is None
    store.put_hint("hints/beat", b"1")
    store.put_hint("hints/beat", b"2")
    assert store.get_hint("hints/beat") == b"2"
    with pytest.raises(StoreError, match="may not be overwritten"):
        store.put_hint("commits/x", b"")


def test_damage_is_seen_when_a_file_is_checked(store: Store) -> None:
    store.put_if_absent("data/f", b"good")
    assert store.checked_path("data/f", sha256_hex(b"good")).read_bytes() == b"good"
    store.local("data/f").write_bytes(b"g00d")
    with pytest.raises(StoreError, match="damaged"):
        store.checked_path("data/f", sha256_hex(b"good"))
    with pytest.raises(StoreError, match="missing"):
        store.checked_path("data/g", sha256_hex(b"good"))


def test_many_files_are_checked_at_once_in_their_order(store: Store) -> None:
    files = [(f"data/{index}", sha256_hex(str(index).encode())) for index in range(20)]
    for key, _ in files:
        store.put_if_absent(key, key.removeprefix("data/").encode())
    assert [path.read_text() for path in store.checked_paths(files)] == [str(index) for index in range(20)]
    assert store.checked_paths([]) == []
    store.local("data/7").write_bytes(b"8")
    with pytest.raises(StoreError, match="data/7 is damaged"):
        store.checked_paths(files)


def test_a_store_opens_twice_and_keeps_what_it_has(tmp_path: Path) -> None:
    Store.open(tmp_path / "new" / "store").put_if_absent("a", b"1")
    store = Store.open(tmp_path / "new" / "store")
    assert store.get("a") == b"1"
    assert store.list("selftest") == []


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


def test_a_full_disk_leaves_no_key(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    key = f"data/{uuid4().hex}"
    with pytest.raises(StoreError, match="No space left"):
        store.put_if_absent(key, b"half")
    assert not store.exists(key)
    assert list(store.tmp().iterdir()) == []
