"""Weights are found where they lie, are the ones that are meant, and say what to do when they are not."""

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from ranking.errors import UsageError
from ranking.names import sha256_file
from workers.scorers.files import digests
from workers.scorers.files.locks import FIRST_USE, lock_path, read_lock
from workers.scorers.files.places import HubFile, WebFile, below, place_of
from workers.scorers.weights import Asset, WeightsError, digest, located, verified, weights_folder

COMMIT = "0123456789abcdef0123456789abcdef01234567"
ASSET = Asset("pick/model.safetensors", source="hf://org/pick@main/deep/model.safetensors")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PAIRSIEVE_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "weights"


def place(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def cached(tmp_path: Path, commit: str, data: bytes) -> Path:
    """A file as huggingface_hub keeps it, "main" being that commit."""
    repo = tmp_path / "hub" / "models--org--pick"
    place(repo / "refs" / "main", commit.encode())
    blob = place(repo / "blobs" / sha(data), data)
    path = repo / "snapshots" / commit / "deep" / "model.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(blob)
    return path


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_what_a_user_already_has_in_the_hubs_cache_is_used_and_fixed_with_its_commit(tmp_path: Path) -> None:
    path = cached(tmp_path, COMMIT, b"weights")
    assert located(ASSET) == path
    assert digest(ASSET) == sha(b"weights")
    lock = read_lock(weights_folder(), ASSET.name, ASSET.source)
    assert lock is not None
    assert (lock.sha256, lock.commit, lock.bytes, lock.learnt) == (sha(b"weights"), COMMIT, 7, FIRST_USE)
    # Another user of the cache moves on to a newer commit: the scorer stays what it was.
    cached(tmp_path, "f" * 40, b"others!")
    assert located(ASSET) == path
    assert verified(ASSET) == path


def test_a_file_of_the_cache_that_is_not_what_the_hub_named_it_is_refused(tmp_path: Path) -> None:
    path = cached(tmp_path, COMMIT, b"weights")
    path.write_bytes(b"wEights")
    with pytest.raises(WeightsError, match=r"another file: .* what the hub named it is"):
        digest(ASSET)
    assert not lock_path(weights_folder(), ASSET.name).exists()


def test_only_the_pinned_commit_of_the_cache_counts(tmp_path: Path) -> None:
    cached(tmp_path, COMMIT, b"weights")
    elsewhere = replace(ASSET, source=f"hf://org/pick@{'e' * 40}/deep/model.safetensors")
    assert located(elsewhere) is None
    assert located(replace(ASSET, source=f"hf://org/pick@{COMMIT}/deep/model.safetensors")) is not None


def test_a_file_in_the_weights_folder_goes_before_the_cache_and_one_that_ships_before_both(
    tmp_path: Path, folder: Path
) -> None:
    cached(tmp_path, COMMIT, b"cache")
    place(folder / ASSET.name, b"placed")
    assert digest(ASSET) == sha(b"placed")
    assert digest(replace(ASSET, path=place(tmp_path / "shipped", b"shipped"))) == sha(b"shipped")


def test_weights_that_change_after_their_first_use_are_refused_until_the_lock_is_removed(folder: Path) -> None:
    place(folder / ASSET.name, b"first")
    digest(ASSET)
    place(folder / ASSET.name, b"second")
    for look in (digest, verified):
        with pytest.raises(WeightsError, match=r"is another file: .* fixed at the first use .*; .*or remove") as caught:
            look(ASSET)
        assert caught.value.code == "weights-changed"
        assert "\n" not in str(caught.value)
    lock_path(folder, ASSET.name).unlink()
    assert digest(ASSET) == sha(b"second")


def test_weights_that_are_not_the_pinned_ones_are_refused_and_nothing_is_fixed(folder: Path) -> None:
    place(folder / ASSET.name, b"rival")
    with pytest.raises(WeightsError, match="its pin is") as caught:
        digest(replace(ASSET, sha256=sha(b"meant")))
    assert caught.value.code == "weights-changed"
    assert not lock_path(folder, ASSET.name).exists()


def test_missing_weights_say_where_they_were_looked_for_and_how_to_get_them(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=rf"neither {folder}/pick/model.* nor the Hugging Face cache.*scorers pull"):
        digest(ASSET)
    with pytest.raises(WeightsError, match=rf"there is no {folder}/pick/model.*put the file there"):
        digest(replace(ASSET, source=""))
    with pytest.raises(WeightsError, match="gone; install the package again"):
        digest(Asset("x", path=tmp_path / "x"))


def test_a_large_file_is_read_again_only_when_it_was_touched_or_is_about_to_be_loaded(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []
    monkeypatch.setattr(digests, "sha256_file", lambda path: read.append(path) or sha256_file(path))
    path = place(folder / ASSET.name, bytes(2**20))
    os.utime(path, (1e9, 1e9))
    first = digest(ASSET)
    assert digest(ASSET) == first
    assert len(read) == 1
    verified(ASSET)
    assert len(read) == 2
    os.utime(path, (2e9, 1e9 + 1))
    digest(ASSET)
    assert len(read) == 3


def test_a_file_that_was_written_a_moment_ago_is_not_taken_from_memory(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = place(folder / ASSET.name, bytes(2**20))
    digest(ASSET)
    before = path.stat()
    path.write_bytes(b"x" * 2**20)  # as large, within the same tick of a coarse clock
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(WeightsError, match="another file"):
        digest(ASSET)


def test_a_folder_that_cannot_be_written_costs_memory_only(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place(folder / ASSET.name, bytes(2**20))

    def refuse(*_: object) -> None:
        raise PermissionError("read-only")

    monkeypatch.setattr(digests, "write_small", refuse)
    monkeypatch.setattr("workers.scorers.files.locks.write_small", refuse)
    assert digest(ASSET) == sha(bytes(2**20))


@pytest.mark.parametrize("damage", [b"", b"{}", b'{"sha256": 1}', b"\xff", json.dumps([1]).encode()])
def test_a_damaged_lock_is_none(folder: Path, damage: bytes) -> None:
    place(lock_path(folder, ASSET.name), damage)
    assert read_lock(folder, ASSET.name, ASSET.source) is None


def test_a_lock_of_another_source_says_nothing(folder: Path) -> None:
    place(folder / ASSET.name, b"first")
    digest(ASSET)
    assert read_lock(folder, ASSET.name, "hf://org/other@main/model.safetensors") is None


@pytest.mark.parametrize(
    ("source", "meant"),
    [
        ("hf://org/a.b@main/x/y.pt", HubFile("org/a.b", "main", "x/y.pt")),
        (f"hf://org/a@{COMMIT}/y", HubFile("org/a", COMMIT, "y")),
        ("hf://org/a@refs/pr/3/y", HubFile("org/a", "refs/pr/3", "y")),
        ("https://host/a+b.pth", WebFile("https://host/a+b.pth")),
        ("http://127.0.0.1:9/a", WebFile("http://127.0.0.1:9/a")),
    ],
)
def test_addresses_are_read(source: str, meant: object) -> None:
    assert place_of(source) == meant


@pytest.mark.parametrize(
    "source",
    [
        "",
        "hf://org/a/x",
        "hf://a@main/x",
        "hf://org/a@main/../x",
        "hf://org/a@main/",
        "http://host/x",
        "https://host",
        "file:///etc/passwd",
        "s3://bucket/x",
        "https:///x",
        "http://127.0.0.1.evil.org/x",
        "https://[x",
    ],
)
def test_what_is_no_address_of_one_file_is_refused(source: str) -> None:
    with pytest.raises(UsageError, match="no address"):
        place_of(source)


@pytest.mark.parametrize("name", ["", "../x", "/etc/x", "a/../../x", ".locks/x", "a\\x", "a\0"])
def test_no_name_leads_out_of_the_folder(folder: Path, name: str) -> None:
    with pytest.raises(UsageError):
        below(folder, name)
