"""Pictures of another store on this machine's disk, by uid: fetched once, and hashed whenever they are read."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from pathlib import Path

from ranking.names import sha256_hex

_HASH = 64


@dataclass(frozen=True)
class KeptPictures:
    """A folder of them; several processes may use it at once. Each file is the SHA-256 of a picture's bytes, in hex,
    and then the bytes."""

    folder: Path

    def get(self, uid: str) -> bytes | None:
        """The bytes of a picture; None where it is not kept, or was damaged, and then it is kept no more."""
        try:
            found = self._path(uid).read_bytes()
        except FileNotFoundError:
            return None
        data = found[_HASH:]
        if found[:_HASH] == sha256_hex(data).encode():
            return data
        self.drop(uid)
        return None

    def put(self, uid: str, data: bytes) -> None:
        """Keep a picture; OSError where there is no room."""
        path = self._path(uid)
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f".{uuid.uuid4().hex}")
        try:
            unfinished.write_bytes(sha256_hex(data).encode() + data)
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)

    def drop(self, uid: str) -> None:
        """Keep a picture no more."""
        self._path(uid).unlink(missing_ok=True)

    def _path(self, uid: str) -> Path:
        name = sha256_hex(uid.encode())
        return self.folder / name[:2] / name[2:4] / name[4:]
