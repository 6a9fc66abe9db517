"""Scores that others computed become commits under a scorer id of their own. Reads no file itself: children do."""

import shutil
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ranking import duck
from ranking.datasets import Dataset, Slice, get_dataset
from ranking.errors import SourceError, UnknownNameError, UsageError
from ranking.exchange.given import NAMES, SUFFIXES
from ranking.exchange.match import NOTHING, Matched, Staged, match
from ranking.exchange.records import GivenFile, put_import
from ranking.features.items import unit_starts
from ranking.ingest.children import Children
from ranking.ingest.sources import SourceFile, find_sources, scheme_of, unchanged
from ranking.names import check_name
from ranking.schema import NOT_GIVEN, OK, SCORES, STATUSES
from ranking.settings import load_settings
from ranking.store.blobs import Store
from ranking.store.commits import commit_scores, committed_units, list_commits
from ranking.store.parquet import read_runs
from ranking.store.shards import SCORE_SHARD, holds_scores, kind_of_name
from ranking.store.snapshots import fullest_ids

Progress = Callable[[str, int, int], None]
"""Called as progress(step, done, total): READING in bytes, then WRITING in units."""

_KEYS = ["image_uid", "prompt_id"]
READING = "reading files"
WRITING = "committing scores"


@dataclass(frozen=True)
class ImportReport:
    """What an import did. `scores` counts items with one, `without` the others of the units that it covers, by status;
    `unknown_rows` are of no item; `units_unnamed` got no commit, as nothing was given for any of their items, and
    `units_known` had one from before. `stands` is the id that a snapshot made now uses for the name: another one where
    that has more rows."""

    scorer_id: str
    dataset: str
    files: int
    rows: int
    scores: int
    without: dict[str, int]
    unknown_rows: int
    units_committed: int
    units_known: int
    units_unnamed: int
    stands: str


def import_scores(
    store: Store,
    sources: Sequence[str | Path],
    *,
    dataset: str,
    scorer: str,
    columns: Mapping[str, str] | None = None,
    allow_unknown: bool = False,
    installed: Collection[str] = (),
    progress: Progress | None = None,
) -> ImportReport:
    """Commit the scores of tables (CSV, JSON objects or Parquet; files or folders, also s3:// and hf://) for items of
    `dataset`, as the scorer `<scorer>@<first 12 hex digits of the hash of what they give>`.

    Rows are keyed by image and prompt, by image alone (the score then holds under every prompt) or by pair; `columns`
    maps `given.NAMES` to the tables' columns. The same tables again change nothing, in whatever order or format; an
    import that was killed goes on. Raises UsageError for a name that is one of `installed` or kept for something else,
    and SourceError, with nothing committed, for what cannot be read, two scores for one item, rows of no item unless
    `allow_unknown`, or no score at all.
    """
    _check_scorer(scorer, installed)
    mapped = dict(columns or {})
    for name in mapped:
        if name not in NAMES:
            raise UnknownNameError.among("name in --columns", name, NAMES)
    found = get_dataset(store, dataset)
    if not found.n_items:
        raise SourceError(f"dataset {dataset} has no items to score", code="no-items", hint="ingest pairs first")
    files = list(dict.fromkeys(file for source in sources for file in find_sources(source, SUFFIXES)))
    with _scratch(store) as folder:
        given = _stage(files, folder, scorer=scorer, columns=mapped, progress=progress)
        staged = [Staged(folder / f"{ordinal}.parquet", file.form, file.uri) for ordinal, file in enumerate(given)]
        with duck.connect(memory_limit=duck.MEMORY, temp_directory=folder / "spill") as con:
            matched = match(con, store, found, staged, allow_unknown=allow_unknown)
    if (matched.status == NOTHING).all():
        raise SourceError(
            f"no row of {files[0].uri} gives a score to an item of dataset {dataset}",
            code="no-scores",
            hint="check the dataset and the columns",
        )
    scorer_id = f"{scorer}@{matched.digest[:12]}"
    put_import(store, scorer_id, dataset, given)
    done, known, unnamed, without = _commit(store, found, matched, scorer_id=scorer_id, progress=progress)
    return ImportReport(
        scorer_id,
        dataset,
        len(files),
        sum(file.rows for file in given),
        int((matched.status == STATUSES.index(OK)).sum()),
        without,
        matched.unknown,
        done,
        known,
        unnamed,
        fullest_ids(commit for commit in list_commits(store) if holds_scores(commit.scorer_id))[scorer],
    )


def _check_scorer(scorer: str, installed: Collection[str]) -> None:
    check_name("scorer", scorer)
    kept = kind_of_name(scorer)
    if kept is not SCORE_SHARD or scorer.startswith("rating."):
        what = "ratings by people" if kept is SCORE_SHARD else kept.what
        raise UsageError(f"the scorer name {scorer!r} is kept for {what}", code="bad-name", hint="choose another")
    if scorer in installed:
        raise UsageError(
            f"{scorer} is a scorer that is installed here, and its scores are its own",
            code="scorer-name-taken",
            hint=f"import under another name, such as {scorer}-given",
        )


def _stage(
    files: Sequence[SourceFile], folder: Path, *, scorer: str, columns: Mapping[str, str], progress: Progress | None
) -> tuple[GivenFile, ...]:
    """Read the tables into `<ordinal>.parquet` of the folder."""
    at, total = [0] * len(files), sum(file.bytes for file in files)

    def advance(job: int, done: int) -> None:
        at[job] = max(at[job], done)
        if progress:
            progress(READING, sum(at), total)

    jobs = [
        {
            "do": "scores",
            "uri": file.uri,
            "file": asdict(file),
            "scorer": scorer,
            "columns": dict(columns),
            "ordinal": ordinal,
            "folder": str(folder),
        }
        for ordinal, file in enumerate(files)
    ]
    remote = any(scheme_of(file.uri) for file in files)
    with Children(folder, memory_gb=load_settings().ingest_memory_gb, remote=remote) as children:
        results = children.run(jobs, advance)
    for ordinal, file in enumerate(files):
        advance(ordinal, file.bytes)
        if not unchanged(file):
            raise SourceError(
                f"source {file.uri} has changed while it was read", code="source-changed", hint="import it again"
            )
    return tuple(
        GivenFile(file.uri, file.bytes, int(result["rows"]), str(result["form"]))
        for file, result in zip(files, results, strict=True)
    )


def _commit(
    store: Store, dataset: Dataset, matched: Matched, *, scorer_id: str, progress: Progress | None
) -> tuple[int, int, int, dict[str, int]]:
    """Units committed now, before and not at all; and the items without a score in those that are, by status."""
    starts, known = unit_starts(dataset), committed_units(store, scorer_id)
    attempt = uuid.uuid4().hex
    counts: Counter[str] = Counter()
    without: Counter[str] = Counter()
    wanted: dict[str, list[Slice]] = {}
    for piece in dataset.slices:
        words = _words(matched.status[_part(starts, piece)])
        if set(words) == {NOT_GIVEN}:
            counts["unnamed"] += 1
            continue
        without.update(word for word in words if word != OK)
        if piece.unit in known:
            counts["known"] += 1
        else:
            wanted.setdefault(piece.file, []).append(piece)
    total, done = sum(len(pieces) for pieces in wanted.values()), 0
    for file, pieces in wanted.items():
        pieces.sort(key=lambda piece: piece.start)
        runs = [(piece.start, piece.rows) for piece in pieces]
        for piece, items in zip(pieces, read_runs(store.local(file), runs, columns=_KEYS), strict=True):
            part = _part(starts, piece)
            table = _table(items, matched.values[part], _words(matched.status[part]))
            won = commit_scores(store, scorer_id=scorer_id, unit=piece.unit, table=table, attempt=attempt, items=items)
            counts["committed" if won else "known"] += 1
            done += 1
            if progress:
                progress(WRITING, done, total)
    return counts["committed"], counts["known"], counts["unnamed"], dict(without)


def _part(starts: Mapping[str, tuple[int, int]], piece: Slice) -> slice:
    start, rows = starts[piece.unit]
    return slice(start, start + rows)


def _words(status: npt.NDArray[np.int8]) -> list[str]:
    words = [*STATUSES, NOT_GIVEN]  # NOTHING is −1, the last
    return [words[code] for code in status.tolist()]


def _table(items: pa.Table, values: npt.NDArray[np.float32], words: list[str]) -> pa.Table:
    return pa.table(
        {
            "image_uid": items["image_uid"],
            "prompt_id": items["prompt_id"],
            "score": pa.array(values, mask=np.isnan(values)),
            "status": pa.array(words, pa.string()),
        },
        schema=SCORES,
    )


@contextmanager
def _scratch(store: Store) -> Iterator[Path]:
    folder = store.tmp() / f"import-{uuid.uuid4().hex}"
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
