"""Works on a wide table while its file is still being hashed, and lets only that out which was read from the bytes
that the hash is of."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from ranking.errors import StoreError
from ranking.features.pairs import PairTable
from ranking.features.wide import Wide, unhashed_wide
from ranking.names import sha256_file

T = TypeVar("T")


def while_hashing(table: PairTable, work: Callable[[PairTable], T]) -> T:
    """`work(table)`, which runs while another thread hashes the wide table's file, unless that was done before.

    What `work` gives or raises is passed on only if the hash is the recorded one; otherwise it is dropped, the damaged
    table is thrown away and built again as ever, and `work` is called a second time. So `work` must write nothing that
    lasts, but for files that a second call writes anew; column sets and whatever else is kept wait for the hash, see
    `PairTable.confirm`.
    """
    # Why this is as good as hashing first. Whoever hashes first and reads then relies on the bytes staying what they
    # were. So does this: the file was the same one (inode, size, time of change) before the first byte was read and
    # after the last one was read and hashed, and a store's files are replaced, never written to. Damage on the disk is
    # seen by both readers, who share the system's cache. Over damaged bytes a reader may fail in any way or give
    # nonsense: neither leaves this function.
    if table.hashed:
        return work(table)
    found = unhashed_wide(table.store, table.snapshot, table.dataset)
    identity = found and _identity(found[1])
    if found is None or identity is None:
        return work(table)
    with ThreadPoolExecutor(1, thread_name_prefix="hash-wide") as pool:
        proof = _Proof(*found, identity, pool.submit(sha256_file, found[1]))
        try:
            result = work(_Early(table.store, table.snapshot, table.dataset, proof))
        except Exception:
            if proof.holds():
                raise
        else:
            if proof.holds():
                table.accept(*found)
                return result
    return work(table)


@dataclass(frozen=True)
class _Proof:
    """A wide table, what its file was before anything read it, and the hash that is being made of it."""

    wide: Wide
    file: Path
    identity: tuple[int, int, int]
    sha256: Future[str]

    def holds(self) -> bool:
        """Whether the file is, and has been throughout, what its record says; waits for the hash."""
        try:
            return self.sha256.result() == self.wide.table.sha256 and _identity(self.file) == self.identity
        except OSError:
            return False  # hashing it again will say what is the matter


@dataclass(frozen=True)
class _Early(PairTable):
    """A table whose file is still being hashed."""

    proof: _Proof

    @property
    def wide(self) -> Wide:
        return self.proof.wide

    @property
    def path(self) -> Path:
        if not self.proof.holds():
            raise StoreError(f"{self.proof.wide.table.file} is damaged", code="damaged", hint="try again")
        return self.proof.file

    @property
    def scanned(self) -> Path:
        return self.proof.file


def _identity(file: Path) -> tuple[int, int, int] | None:
    """What changes when a file is replaced or written to; None if there is none."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
