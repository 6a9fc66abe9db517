"""A writer is killed at every step of a commit, an ingest and a snapshot; nothing half-made is ever
visible.

The steps are the calls that change a folder or make bytes last (open, fsync, link, unlink, replace,
mkdir). A process kills itself with SIGKILL just before its n-th step, for n = 1, 2, 3 … until it gets
through; each time on a fresh copy of the store. One child imports everything and forks for each n, as
starting Python anew would take most of the time."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from pickapic_factory import rows, write
from scored import score_all

from ranking import plan
from ranking.datasets import get_dataset, list_datasets
from ranking.ingest import ingest
from ranking.names import sha256_file
from ranking.store.blobs import Store
from ranking.store.commits import list_commits
from ranking.store.snapshots import create_snapshot, list_snapshots, verify_snapshot

TESTS = Path(__file__).resolve().parents[1]
PATHS = [str(path) for path in (TESTS.parent, TESTS, TESTS / "ranking")]

CHILD = """
import os, pathlib, shutil, signal, sys
sys.path[:0] = {paths!r}
from ranking.store.blobs import Store
from ranking.store.folder import FolderBlobs
from ranking.ingest import ingest
from ranking.store.snapshots import create_snapshot
from scored import score_all

def die_at(n):
    left = n
    def counted(real):
        def call(*args, **kwargs):
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **kwargs)
        return call
    for name in ("fsync", "link"):
        setattr(os, name, counted(getattr(os, name)))
    for name in ("unlink", "replace", "rename", "mkdir", "open"):
        setattr(pathlib.Path, name, counted(getattr(pathlib.Path, name)))

for n in range(1, 200):
    folder = pathlib.Path({folder!r}) / f"killed-{{n}}"
    shutil.copytree({store!r}, folder)
    child = os.fork()
    if child == 0:
        store = Store(FolderBlobs(folder))
        die_at(n)
        {work}
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status == 0:
        break
    if status != -signal.SIGKILL:
        sys.exit(f"step {{n}} ended with {{status}}")
"""

COMMIT = "score_all(store, 'pets', {'sharp@00000000': lambda uid: len(uid) / 8})"
PUT = "store.put_if_absent('plans/deep/a.json', b'x' * 5000)"
INGEST = "ingest(store, {source!r}, 'pets', slice_items=4)"
SNAPSHOT = "create_snapshot(store)"


def kills(folder: Path, work: str, *, prepared: Store, audit: Callable[[Store], None]) -> int:
    """Kill `work` on copies of a store before its 1st, 2nd … step, then audit each copy; how many kills it
    took."""
    script = CHILD.format(paths=PATHS, folder=str(folder), store=prepared.uri, work=work)
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=250, check=False)
    assert ended.returncode == 0, ended.stderr
    copies = sorted(folder.glob("killed-*"))
    for copy in copies:
        audit(Store.open(copy))
        shutil.rmtree(copy)
    return len(copies) - 1


def ingested(folder: Path) -> Store:
    store = Store.open(folder / "store")
    ingest(store, write(folder / "pairs.parquet", rows(3)), "pets")
    return store


def audit_commits(store: Store) -> None:
    """Every marker names a whole file, and doing the work again gives the full, verified result."""
    for commit in list_commits(store):
        assert sha256_file(store.local(commit.file)) == commit.sha256
    snapshot = score_all(store, "pets", {"sharp@00000000": lambda uid: len(uid) / 8})
    assert verify_snapshot(store, snapshot) == []
    job = plan.create_plan(store, "pets", ["sharp@00000000"])
    assert plan.open_slices(store, job) == []
    assert sum(member.rows for member in snapshot.members) == get_dataset(store, "pets").n_items


def test_put_if_absent_shows_all_bytes_or_no_key(tmp_path: Path) -> None:
    def audit(store: Store) -> None:
        if store.exists("plans/deep/a.json"):
            assert store.get("plans/deep/a.json") == b"x" * 5000
            assert not store.put_if_absent("plans/deep/a.json", b"late")
        else:
            assert store.list("plans") == []
            assert store.put_if_absent("plans/deep/a.json", b"again")

    assert kills(tmp_path, PUT, prepared=Store.open(tmp_path / "store"), audit=audit) >= 8


def test_commits_are_whole_or_absent_and_can_be_done_again(tmp_path: Path) -> None:
    assert kills(tmp_path, COMMIT, prepared=ingested(tmp_path), audit=audit_commits) >= 20


def test_an_ingest_is_whole_or_absent_and_can_be_done_again(tmp_path: Path) -> None:
    source = write(tmp_path / "pairs.parquet", rows(5))

    def audit(store: Store) -> None:
        for dataset in list_datasets(store):
            assert dataset.n_pairs == 5
            assert dataset.pairs_paths(store)
            assert dataset.items_paths(store)
        report = ingest(store, source, "pets", slice_items=4)
        assert (report.revision, get_dataset(store, "pets").n_pairs) == (1, 5)

    work = INGEST.format(source=str(source))
    assert kills(tmp_path, work, prepared=Store.open(tmp_path / "store"), audit=audit) >= 15


def test_a_snapshot_is_whole_or_absent_and_can_be_done_again(tmp_path: Path) -> None:
    def audit(store: Store) -> None:
        assert len(list_snapshots(store)) <= 1
        assert create_snapshot(store).n == 1

    assert kills(tmp_path, SNAPSHOT, prepared=ingested(tmp_path), audit=audit) >= 6
