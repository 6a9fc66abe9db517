"""A file that is hashed while it is written, once through from its beginning."""

import hashlib
import io
from pathlib import Path
from typing import Any

from ranking.subsets.export.folder import File


class HashingFile(io.RawIOBase):
    """A new file for writing in order; `done` says what became of it. Nothing can go back in it."""

    def __init__(self, path: Path, name: str) -> None:
        super().__init__()
        self._file = path.open("wb")
        self._digest = hashlib.sha256()
        self._size = 0
        self._name = name

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        view = memoryview(data)
        self._file.write(view)
        self._digest.update(view)
        self._size += view.nbytes
        return view.nbytes

    def tell(self) -> int:
        return self._size

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()

    def done(self) -> File:
        """Close it, and say what it is."""
        self.close()
        return File(self._name, self._size, self._digest.hexdigest())
