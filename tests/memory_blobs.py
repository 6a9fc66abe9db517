"""A store's blobs in memory, with a clock of its own, for simulations: every call is a moment at which the caller may
be put off for long, or killed. A move is two steps, as in a bucket."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from ranking.names import sha256_hex
from ranking.store.backend import Entry


class MemoryBlobs:
    """Blobs as a dictionary. `pause` is called before each step that others could come between."""

    readers = 1
    askers = 1

    def __init__(self, workspace: Path, *, blobs: dict[str, tuple[bytes, float]] | None = None, now: float = 0) -> None:
        self.uri = f"memory:{workspace}"
        self.workspace = workspace
        self.blobs = dict(blobs or {})
        self.now = now
        self.pause: Callable[[str], None] = lambda what: None
        self._lock = threading.Lock()
        for folder in ("tmp", "copies"):
            (workspace / folder).mkdir(parents=True, exist_ok=True)

    def flaw(self, key: str) -> str | None:
        return None

    def create(self, key: str, data: bytes | Path) -> bool:
        content = data if isinstance(data, bytes) else data.read_bytes()
        self.pause(f"create {key}")
        with self._lock:
            found = self.blobs.get(key)
            self.blobs[key] = (content if found is None else found[0], self.now)  # an old one is made young
        if isinstance(data, Path):
            data.unlink()
        return found is None

    def replace(self, key: str, data: bytes) -> None:
        self.pause(f"replace {key}")
        self.blobs[key] = (data, self.now)

    def read(self, key: str) -> bytes | None:
        self.pause(f"read {key}")
        return self.blobs[key][0] if key in self.blobs else None

    def entry(self, key: str) -> Entry | None:
        self.pause(f"look at {key}")
        return self._entry(key)

    def keys(self, prefix: str) -> Iterator[str]:
        return iter([entry.key for entry in self.entries(prefix)])

    def entries(self, prefix: str) -> Iterator[Entry]:
        self.pause(f"list {prefix}")
        found = [self._entry(key) for key in sorted(self.blobs) if not prefix or key.startswith(f"{prefix}/")]
        return iter([entry for entry in found if entry is not None])

    def children(self, folder: str) -> list[str]:
        self.pause(f"list {folder}")
        start = f"{folder}/" if folder else ""
        return sorted({key.removeprefix(start).partition("/")[0] for key in self.blobs if key.startswith(start)})

    def local(self, key: str) -> Path | None:
        self.pause(f"fetch {key}")
        if key not in self.blobs:
            return None
        data = self.blobs[key][0]
        path = self.workspace / "copies" / sha256_hex(data)
        if not path.exists():
            path.write_bytes(data)
        return path

    def forget(self, key: str) -> bool:
        return False

    def digest(self, key: str) -> str | None:
        self.pause(f"hash {key}")
        return sha256_hex(self.blobs[key][0]) if key in self.blobs else None

    def move(self, key: str, to: str) -> None:
        self.pause(f"copy {key}")
        if key in self.blobs:
            self.blobs[to] = (self.blobs[key][0], self.now)
            self.delete(key)

    def delete(self, key: str) -> None:
        self.pause(f"delete {key}")
        self.blobs.pop(key, None)

    def usable(self) -> str | None:
        return None

    def free(self) -> int | None:
        return None

    def _entry(self, key: str) -> Entry | None:
        found = self.blobs.get(key)
        return Entry(key, len(found[0]), found[1]) if found else None
