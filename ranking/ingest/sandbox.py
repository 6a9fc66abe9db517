"""The child process that reads untrusted files: `python -m ranking.ingest.sandbox`. Parses within a memory limit and
writes staged files; decides nothing and publishes nothing.

It takes jobs as lines of JSON on standard input and answers each by lines of JSON: {"progress": bytes} now and then,
and at the end {"result": …} or {"error": …}. Only standard-library modules are loaded before the limits hold.
"""

import contextlib
import ctypes
import errno
import hashlib
import io
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from ranking.errors import UNUSABLE, PairsieveError, SourceError, StoreError
from ranking.ingest.ranged import READ_AHEAD
from ranking.ingest.sources import SourceFile
from ranking.lean import without_pandas

MEMORY = "memory"
"""The code of the error that says: the file needs more memory than the child may have."""

_LARGEST_FILE = 64 * 2**30  # of what we write; a source that makes more is no table of pairs
_PIECE = 8 * 2**20  # of a file that is hashed: one request each where it is remote
_LONGEST = 2_000  # characters of a message: a parser may quote the file
_REPORT_SECONDS = 0.1
_PR_SET_PDEATHSIG = 1

Report = Callable[[int], None]
"""report(bytes) says how far into its file a job is."""


class _Watched(io.BufferedReader):
    """A file that tells where it was read last."""

    def __init__(self, handle: BinaryIO, place: list[int]) -> None:
        super().__init__(handle.detach(), READ_AHEAD)  # type: ignore[attr-defined]
        self._place = place

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self._place[0] = self.tell()
        return data

    def read1(self, size: int = -1, /) -> bytes:
        data = super().read1(size)
        self._place[0] = self.tell()
        return data


@dataclass(frozen=True)
class _WatchedFile(SourceFile):
    place: list[int] = field(default_factory=lambda: [0])

    def open(self) -> BinaryIO:
        return _Watched(super().open(), self.place)


def main(memory_bytes: int, parent: int) -> None:
    """Do jobs until standard input ends. Whatever prints, prints to standard error."""
    _confine(memory_bytes, parent)
    without_pandas()
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)

        def answer(**line: Any) -> None:
            answers.write(json.dumps(line) + "\n")
            answers.flush()

        for line in sys.stdin:
            job = json.loads(line)
            try:
                result = _JOBS[job.pop("do")](**job, report=_seldom(lambda done: answer(progress=done)))
            except PairsieveError as error:
                answer(error={"message": error.message[:_LONGEST], "code": error.code, "hint": error.hint[:_LONGEST]})
            except Exception as error:  # parsers raise almost anything on hostile data
                code = MEMORY if _is_memory(error) else "source-unreadable"
                message = f"{type(error).__name__}: {error}"[:_LONGEST]
                answer(error={"message": message, "code": code, "hint": "", "odd": True})
            else:
                answer(result=result)


def find_format(*, candidates: list[dict[str, Any]], report: Report) -> dict[str, Any]:
    """The first of the candidates (an adapter's name and the file to look at) that fits; SourceError with the reason of
    each if none does."""
    from ranking.ingest.adapters import ADAPTERS

    report(0)
    adapters = {adapter.name: adapter for adapter in ADAPTERS}
    reasons: dict[str, list[str]] = {}
    for candidate in candidates:
        try:
            reason = adapters[candidate["adapter"]].mismatch(SourceFile(**candidate["file"]))
        except SourceError as error:
            reason = error.message
        if reason is None:
            return {"adapter": candidate["adapter"]}
        reasons.setdefault(reason, []).append(candidate["adapter"])
    uri = candidates[0]["file"]["uri"]
    if len(candidates) == 1 and candidates[0]["adapter"] != "table":
        raise SourceError(f"source {uri} is not {_list(reasons)}", code="source-columns", hint="check its --format")
    raise SourceError(
        f"source {uri} is of no format we know ({_list(reasons)})",
        code="source-columns",
        hint="name its --format, or map its columns: --columns prompt=…,image_0=…,image_1=…,label=…",
    )


def _list(reasons: dict[str, list[str]]) -> str:
    return "; ".join(f"{', '.join(names)}: {reason}" for reason, names in reasons.items())


def hash_file(*, file: dict[str, Any], report: Report) -> dict[str, Any]:
    """The SHA-256 of a file's bytes."""
    found = SourceFile(**file)
    digest, done = hashlib.sha256(), 0
    with _clear(found), found.open() as handle:
        while piece := handle.read(_PIECE):
            digest.update(piece)
            done += len(piece)
            report(done)
    if done != found.bytes:
        raise SourceError(f"source {found.uri} has changed while it was read", code="source-changed", hint="try again")
    return {"sha256": digest.hexdigest()}


def stage_file(
    *, adapter: str, file: dict[str, Any], options: dict[str, Any], ordinal: int, folder: str, report: Report
) -> dict[str, Any]:
    """A file's rows in staged files `<ordinal>.parquet` and `<ordinal>-ratings.parquet` of the folder, and what of them
    is unusable."""
    from ranking.ingest.adapters import ADAPTERS, Options
    from ranking.ingest.sheets import Sheets

    reader = next(found for found in ADAPTERS if found.name == adapter)
    watched = _WatchedFile(**file)
    with _clear(watched):
        reason = None if options["columns"] else reader.mismatch(watched)
        if reason:
            raise SourceError(
                f"source {watched.uri} is not {adapter}: {reason}", code="source-columns", hint="leave it out"
            )
        with Sheets(Path(folder), ordinal, watched) as sheets:
            for batch in reader.read(watched, Options(**options)):
                sheets.add(batch)
                report(min(watched.place[0], watched.bytes))
        return sheets.result()


def stage_scores(
    *, file: dict[str, Any], scorer: str, columns: dict[str, str], ordinal: int, folder: str, report: Report
) -> dict[str, Any]:
    """A table of somebody's scores in a staged file `<ordinal>.parquet` of the folder; how it is keyed and its rows."""
    import pyarrow.parquet as pq

    from ranking.exchange.given import GIVEN, read_given

    watched = _WatchedFile(**file)
    rows = 0
    with _clear(watched):
        form, batches = read_given(watched, ordinal, scorer=scorer, mapped=columns)
        with pq.ParquetWriter(Path(folder) / f"{ordinal}.parquet", GIVEN, compression="lz4") as writer:
            for batch in batches:
                writer.write_batch(batch)
                rows += batch.num_rows
                report(min(watched.place[0], watched.bytes))
    return {"form": form, "rows": rows}


_JOBS: dict[str, Callable[..., dict[str, Any]]] = {
    "format": find_format,
    "hash": hash_file,
    "stage": stage_file,
    "scores": stage_scores,
}


@contextlib.contextmanager
def _clear(file: SourceFile) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise StoreError(
                f"what was read of {file.uri} cannot be written ({reason})",
                code=UNUSABLE,
                hint="check the space of the store's disk",
            ) from error
        raise SourceError(f"source {file.uri} cannot be read ({reason})", code="source-unreadable") from error


def _seldom(report: Report) -> Report:
    last = 0.0

    def seldom(done: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _REPORT_SECONDS:
            last = now
            report(done)

    return seldom


def _is_memory(error: BaseException) -> bool:
    from pyarrow import ArrowMemoryError

    return isinstance(error, MemoryError | ArrowMemoryError) or "bad_alloc" in str(error)


def _confine(memory_bytes: int, parent: int) -> None:
    # Of anonymous memory only: an address-space limit would count libraries and read-only maps too.
    resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (_LARGEST_FILE, _LARGEST_FILE))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it went before we asked
            sys.exit(0)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
