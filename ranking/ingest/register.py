"""Ingest: checks a source, derives what is new, and publishes it as a revision whose marker comes last."""

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from ranking import duck
from ranking.datasets import Dataset, Revision, Slice, Source, find_dataset, put_revision
from ranking.errors import SourceError, UnknownNameError, UsageError
from ranking.ingest.adapters import Options
from ranking.ingest.adapters.table import NAMES as TABLE_NAMES
from ranking.ingest.derive import Derivation
from ranking.ingest.ratings import Rated
from ranking.ingest.sources import find_sources, folder_of
from ranking.ingest.stage import Progress, Staged, StagedSource, stage, suffixes
from ranking.names import check_name
from ranking.schema import ITEMS, PAIRS, RATED
from ranking.settings import load_settings
from ranking.store.blobs import Store
from ranking.store.parquet import DataFile, put_parquet


@dataclass(frozen=True)
class IngestReport:
    """What an ingest did. `created` says whether there is a new revision; without one nothing was added.

    `skipped` counts rows left out by reason: "duplicate" for exact copies, "unknown_image" for ratings of images that
    the dataset does not have, the others only with skip_bad_rows. `sources_known` counts files whose content was in
    the dataset before, or occurs twice in the source; `sources_left_out` those with an ending that the format found
    does not read.
    """

    dataset: str
    format: str
    revision: int
    revision_sha: str
    created: bool
    sources_added: int
    sources_known: int
    sources_left_out: int
    rows_read: int
    pairs_added: int
    items_added: int
    ratings_added: int
    slices_added: int
    skipped: dict[str, int]


def ingest(
    store: Store,
    source: str | Path,
    dataset: str,
    *,
    format: str = "auto",
    options: Options | None = None,
    skip_bad_rows: bool = False,
    progress: Progress | None = None,
    slice_items: int | None = None,
) -> IngestReport:
    """Add the pairs, and the ratings of images, of `source` to `dataset`, which is made if absent.

    `source` is a file or a folder of files: a path, s3://bucket/prefix or hf://datasets/org/name[@revision]/path.
    Files whose bytes are known add nothing. `progress(done_bytes, total_bytes)` is called as files are hashed and read.
    `slice_items` bounds the items of one slice (default: the setting). Raises SourceError, with nothing published, for
    a missing or unreadable source, missing columns, ratings without a dataset, or unusable rows unless `skip_bad_rows`.
    """
    check_name("dataset", dataset)
    settings = load_settings()
    options = options or Options()
    if options.columns:
        if format not in ("auto", "table"):
            raise UsageError(f"columns are mapped for the format table, not {format}", hint="leave --columns out")
        for name in options.columns:
            if name not in TABLE_NAMES:
                raise UnknownNameError.among("name in --columns", name, TABLE_NAMES)
        format = "table"
    files = find_sources(source, suffixes(format))
    if options.images is not None:
        options = replace(options, images=folder_of(options.images))
    slice_items = slice_items or settings.slice_items
    parent = find_dataset(store, dataset)
    with _scratch(store) as folder:
        staged = stage(
            files,
            folder,
            format=format,
            options=options,
            known=_known(parent),
            memory_gb=settings.ingest_memory_gb,
            progress=progress,
        )
        if staged.bad.counts and not skip_bad_rows:
            raise staged.bad.refusal()
        while True:
            new = [item for item in staged.sources if item.sha256 not in _known(parent)]
            if not new:
                return _nothing_new(parent, staged)
            # Those with pairs come first: a derivation numbers its sources from the first one on.
            new.sort(key=lambda item: (not item.judged, item.ordinal))
            revision = _build(
                store,
                parent,
                new,
                staged,
                dataset=dataset,
                images=options.images,
                slice_items=slice_items,
                scratch=folder,
            )
            if put_revision(store, revision):
                return _report(revision, new, staged)
            # Another ingest was quicker: what it brought is no longer new.
            parent = find_dataset(store, dataset)


def _known(parent: Dataset | None) -> set[str]:
    return {source.sha256 for source in parent.sources} if parent else set()


def _build(
    store: Store,
    parent: Dataset | None,
    new: list[StagedSource],
    staged: Staged,
    *,
    dataset: str,
    images: str | None,
    slice_items: int,
    scratch: Path,
) -> Revision:
    first_source = len(parent.sources) if parent else 0
    skipped = dict(sorted(staged.bad.counts.items()))
    pairs = items = ratings = None
    slices: tuple[Slice, ...] = ()
    judged = [item for item in new if item.judged]
    if judged:
        with duck.connect(memory_limit=duck.MEMORY, temp_directory=scratch / "spill") as con:
            derived = Derivation(
                con,
                judged,
                dataset=dataset,
                first_source=first_source,
                earlier_pairs=parent.pairs_paths(store) if parent else [],
                earlier_items=parent.items_paths(store) if parent else [],
                slice_items=slice_items,
            )
            pairs = put_parquet(store, f"datasets/{dataset}/pairs", PAIRS, derived.pairs())
            items = put_parquet(store, f"datasets/{dataset}/items", ITEMS, derived.items())
        slices = tuple(Slice(cut.unit, cut.source, items.file, cut.start, cut.rows) for cut in derived.slices)
        _count(skipped, "duplicate", derived.duplicates)
        if not pairs.rows and parent is None:
            raise _nothing_usable(skipped)
    rated = [item.ratings for item in new if item.rated]
    if rated:
        known = [*(parent.items_paths(store) if parent else []), *([store.local(items.file)] if items else [])]
        if not known:
            raise SourceError(
                f"source {new[0].file.uri} has ratings only, and there is no dataset {dataset} with their images",
                code="no-dataset",
                hint="ingest the pairs first",
            )
        ratings = _rate(store, parent, rated, known, skipped, dataset=dataset, scratch=scratch)
        if not judged and not ratings.rows and "duplicate" not in skipped:
            raise _nothing_usable(skipped)
    return Revision(
        dataset=dataset,
        number=parent.revision + 1 if parent else 1,
        parent=parent.revision_sha if parent else None,
        format=staged.adapter,
        sources=tuple(
            Source(first_source + i, item.file.uri, images or item.file.root, item.file.bytes, item.sha256, item.rows)
            for i, item in enumerate(new)
        ),
        pairs=pairs,
        items=items,
        ratings=ratings,
        slices=slices,
        skipped=skipped,
    )


def _rate(
    store: Store,
    parent: Dataset | None,
    staged: list[Path],
    items: list[Path],
    skipped: dict[str, int],
    *,
    dataset: str,
    scratch: Path,
) -> DataFile:
    with duck.connect(memory_limit=duck.MEMORY, temp_directory=scratch / "spill") as con:
        rated = Rated(con, staged, items=items, earlier=parent.ratings_paths(store) if parent else [])
        _count(skipped, "unknown_image", rated.unknown)
        _count(skipped, "duplicate", rated.duplicates)
        return put_parquet(store, f"datasets/{dataset}/ratings", RATED, rated.ratings())


def _count(skipped: dict[str, int], reason: str, rows: int) -> None:
    if rows:
        skipped[reason] = skipped.get(reason, 0) + rows


def _nothing_usable(skipped: dict[str, int]) -> SourceError:
    counts = ", ".join(f"{count} {reason}" for reason, count in skipped.items())
    return SourceError(f"no row of the source can be used ({counts})", code="bad-rows", hint="check the file")


def _report(revision: Revision, new: list[StagedSource], staged: Staged) -> IngestReport:
    return IngestReport(
        dataset=revision.dataset,
        format=revision.format,
        revision=revision.number,
        revision_sha=revision.sha,
        created=True,
        sources_added=len(new),
        sources_known=staged.known + len(staged.sources) - len(new),
        sources_left_out=staged.left_out,
        rows_read=sum(item.rows for item in new),
        pairs_added=revision.pairs.rows if revision.pairs else 0,
        items_added=revision.items.rows if revision.items else 0,
        ratings_added=revision.ratings.rows if revision.ratings else 0,
        slices_added=len(revision.slices),
        skipped=revision.skipped,
    )


def _nothing_new(parent: Dataset | None, staged: Staged) -> IngestReport:
    assert parent is not None, "files are known only from an earlier revision"
    return IngestReport(
        dataset=parent.name,
        format=staged.adapter,
        revision=parent.revision,
        revision_sha=parent.revision_sha,
        created=False,
        sources_added=0,
        sources_known=staged.known + len(staged.sources),
        sources_left_out=staged.left_out,
        rows_read=0,
        pairs_added=0,
        items_added=0,
        ratings_added=0,
        slices_added=0,
        skipped={},
    )


@contextmanager
def _scratch(store: Store) -> Iterator[Path]:
    folder = store.tmp() / f"ingest-{uuid.uuid4().hex}"
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
