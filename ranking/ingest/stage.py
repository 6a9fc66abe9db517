"""Brings sources into checked rows in temporary files, counting what is unusable. Reads no source itself (children do)
and publishes nothing."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ranking.errors import SourceError, UnknownNameError
from ranking.ingest.adapters import ADAPTERS, Adapter, Options
from ranking.ingest.children import Children, Job
from ranking.ingest.sources import SourceFile, scheme_of, unchanged

Progress = Callable[[int, int], None]
"""Called as progress(done_bytes, total_bytes): what is hashed and what is read count alike."""


@dataclass(frozen=True)
class StagedSource:
    """One source file, hashed and read. `ordinal` is its position in this ingest; `judged` and `rated` count the rows
    of the staged files `judgements` and `ratings`, which are there if they have any."""

    ordinal: int
    file: SourceFile
    sha256: str
    judged: int
    rated: int
    judgements: Path
    ratings: Path

    @property
    def rows(self) -> int:
        """All rows, usable or not."""
        return self.judged + self.rated


@dataclass
class BadRows:
    """The rows that cannot be used: how many for which reason, and the first one met."""

    counts: dict[str, int] = field(default_factory=dict)
    first: str = ""

    def add(self, file: SourceFile, counts: dict[str, int], first: Sequence[Any] | None) -> None:
        """Add those of a file, whose first one is (row, reason)."""
        for reason, count in counts.items():
            self.counts[reason] = self.counts.get(reason, 0) + count
        if first and not self.first:
            self.first = f"{file.uri} row {first[0]} ({first[1]})"

    def refusal(self) -> SourceError:
        """The error that says all of it in one line."""
        counts = ", ".join(f"{count} {reason}" for reason, count in sorted(self.counts.items()))
        return SourceError(
            f"{sum(self.counts.values())} rows cannot be used ({counts}), the first is {self.first}",
            code="bad-rows",
            hint="correct them, or leave them out with --skip-bad-rows",
        )


@dataclass(frozen=True)
class Staged:
    """What came of the files: those of the format `adapter` that are new, how many were known and how many are of
    another kind."""

    adapter: str
    sources: tuple[StagedSource, ...]
    known: int
    left_out: int
    bad: BadRows


def suffixes(wanted: str) -> list[str]:
    """The endings of files that the format `wanted` reads, or any format with "auto". UnknownNameError for a format
    we do not have."""
    return sorted({end for adapter in _candidates(wanted) for end in adapter.suffixes})


def stage(
    files: Sequence[SourceFile],
    folder: Path,
    *,
    format: str,
    options: Options,
    known: set[str],
    memory_gb: float,
    progress: Progress | None = None,
) -> Staged:
    """Read every file whose SHA-256 is not in `known` (nor met before in this call) into `folder`.

    With "auto" the first adapter that reads the first of its files decides, and files with other endings are left out.
    Rows are read in batches without the images, so memory does not grow with the files. SourceError for a file that is
    not of the format or cannot be read within `memory_gb`.
    """
    remote = any(scheme_of(file.uri) for file in files)
    with Children(folder, memory_gb=memory_gb, remote=remote) as children:
        # Mapped columns cannot be recognised, only used.
        adapter = _candidates("table")[0] if options.columns else _find_format(children, files, format)
        ours = _of(adapter, files)
        meter = _Meter(progress, sum(file.bytes * (1 if file.sha256 else 2) for file in ours))
        hashed = _hashed(children, ours, meter)
        new = _distinct(hashed, known)
        meter.skip(sum(file.bytes for file in hashed) - sum(file.bytes for file in new))
        jobs = [
            {
                "do": "stage",
                "uri": file.uri,
                "adapter": adapter.name,
                "file": asdict(file),
                "options": asdict(options),
                "ordinal": ordinal,
                "folder": str(folder),
            }
            for ordinal, file in enumerate(new)
        ]
        results = meter.run(children, jobs, new)
    bad = BadRows()
    sources = []
    for ordinal, (file, result) in enumerate(zip(new, results, strict=True)):
        if not unchanged(file):
            raise SourceError(
                f"source {file.uri} has changed while it was read", code="source-changed", hint="ingest it again"
            )
        bad.add(file, result["bad"], result["first"])
        sources.append(_source(ordinal, file, result, folder))
    return Staged(adapter.name, tuple(sources), len(ours) - len(new), len(files) - len(ours), bad)


def _source(ordinal: int, file: SourceFile, result: dict[str, Any], folder: Path) -> StagedSource:
    assert file.sha256 is not None, "staged files are hashed"
    source = StagedSource(
        ordinal,
        file,
        file.sha256,
        judged=int(result["judgements"]),
        rated=int(result["ratings"]),
        judgements=folder / f"{ordinal}.parquet",
        ratings=folder / f"{ordinal}-ratings.parquet",
    )
    if not source.rows:
        raise SourceError(f"source {file.uri} has no rows", code="source-empty", hint="leave it out")
    return source


def _candidates(wanted: str) -> tuple[Adapter, ...]:
    known = {adapter.name: adapter for adapter in ADAPTERS}
    if wanted != "auto" and wanted not in known:
        raise UnknownNameError.among("format", wanted, ("auto", *known))
    return ADAPTERS if wanted == "auto" else (known[wanted],)


def _of(adapter: Adapter, files: Sequence[SourceFile]) -> list[SourceFile]:
    """The files with the adapter's endings; a single file is taken whatever it is called."""
    found = [file for file in files if file.name.lower().endswith(adapter.suffixes)]
    return found or (list(files) if len(files) == 1 else [])


def _find_format(children: Children, files: Sequence[SourceFile], wanted: str) -> Adapter:
    adapters = _candidates(wanted)
    if len(files) == 1 and wanted == "auto":
        # The ending of a name may mislead, but it tells which reasons are worth reading.
        adapters = tuple(a for a in adapters if files[0].name.lower().endswith(a.suffixes)) or adapters
    first = [(adapter, _of(adapter, files)[:1]) for adapter in adapters]
    candidates = [{"adapter": adapter.name, "file": asdict(file)} for adapter, some in first for file in some]
    uri = next(file.uri for _, some in first for file in some)
    (found,) = children.run([{"do": "format", "uri": uri, "candidates": candidates}])
    return next(adapter for adapter in adapters if adapter.name == found["adapter"])


def _hashed(children: Children, files: list[SourceFile], meter: "_Meter") -> list[SourceFile]:
    unknown = [file for file in files if file.sha256 is None]
    jobs = [{"do": "hash", "uri": file.uri, "file": asdict(file)} for file in unknown]
    found = {
        file.uri: str(result["sha256"])
        for file, result in zip(unknown, meter.run(children, jobs, unknown), strict=True)
    }
    return [replace(file, sha256=found.get(file.uri, file.sha256)) for file in files]


def _distinct(files: list[SourceFile], known: set[str]) -> list[SourceFile]:
    first = {file.sha256: file for file in reversed(files)}
    return [file for file in files if file.sha256 not in known and first[file.sha256] is file]


class _Meter:
    """Adds up how far several jobs are."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress = progress
        self._total = total
        self._done = 0

    def skip(self, count: int) -> None:
        """These bytes need no work."""
        self._done += count
        self._tell(0)

    def run(self, children: Children, jobs: Sequence[Job], files: Sequence[SourceFile]) -> list[dict[str, Any]]:
        """Do jobs, one to a file, and tell how they go on."""
        at = [0] * len(jobs)

        def advance(job: int, done: int) -> None:
            at[job] = min(max(at[job], done), files[job].bytes)
            self._tell(sum(at))

        results = children.run(jobs, advance)
        self._done += sum(file.bytes for file in files)
        self._tell(0)
        return results

    def _tell(self, more: int) -> None:
        if self._progress:
            self._progress(self._done + more, self._total)
