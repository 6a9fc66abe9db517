"""Ingest: checks a source, derives what is new, and publishes it as a revision whose marker comes last."""

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ranking import duck
from ranking.datasets import Dataset, Revision, Slice, Source, find_dataset, put_revision
from ranking.errors import SourceError
from ranking.ingest.adapters import Options
from ranking.ingest.derive import Derivation
from ranking.ingest.sources import find_sources
from ranking.ingest.stage import BadRows, Progress, StagedSource, adapter_for, stage, suffixes
from ranking.names import check_name
from ranking.schema import ITEMS, PAIRS
from ranking.settings import load_settings
from ranking.store.blobs import Store
from ranking.store.parquet import put_parquet


@dataclass(frozen=True)
class IngestReport:
    """What an ingest did. `created` says whether there is a new revision; without one nothing was added.

    `skipped` counts rows left out by reason: "duplicate" for exact copies, the others only with
    skip_bad_rows. `sources_known` counts files whose content was in the dataset before, or occurs twice in
    the source.
    """

    dataset: str
    format: str
    revision: int
    revision_sha: str
    created: bool
    sources_added: int
    sources_known: int
    rows_read: int
    pairs_added: int
    items_added: int
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
    """Add the pairs of `source` (a file, or a folder of files) to `dataset`, which is made if absent.

    Files whose bytes are known add nothing. `progress(done_bytes, total_bytes)` is called as files are read.
    `slice_items` bounds the items of one slice (default: the setting). Raises SourceError, with nothing
    published, for a missing or unreadable source, missing columns, or unusable rows unless `skip_bad_rows`.
    """
    check_name("dataset", dataset)
    files = find_sources(source, suffixes(format))
    adapter = adapter_for(files, format)
    slice_items = slice_items or load_settings().slice_items
    parent = find_dataset(store, dataset)
    with _scratch(store) as folder:
        staged, bad = stage(files, adapter, options or Options(), folder, known=_known(parent), progress=progress)
        if bad.counts and not skip_bad_rows:
            raise bad.refusal()
        while True:
            new = [item for item in staged if item.sha256 not in _known(parent)]
            if not new:
                return _nothing_new(parent, adapter.name, len(files))
            revision = _build(
                store,
                parent,
                new,
                bad,
                dataset=dataset,
                format=adapter.name,
                slice_items=slice_items,
                scratch=folder,
            )
            if put_revision(store, revision):
                return _report(revision, new, len(files))
            # Another ingest was quicker: what it brought is no longer new.
            parent = find_dataset(store, dataset)


def _known(parent: Dataset | None) -> set[str]:
    return {source.sha256 for source in parent.sources} if parent else set()


def _build(
    store: Store,
    parent: Dataset | None,
    new: list[StagedSource],
    bad: BadRows,
    *,
    dataset: str,
    format: str,
    slice_items: int,
    scratch: Path,
) -> Revision:
    first_source = len(parent.sources) if parent else 0
    with duck.connect(memory_limit=duck.MEMORY, temp_directory=scratch / "spill") as con:
        derived = Derivation(
            con,
            new,
            dataset=dataset,
            first_source=first_source,
            earlier_pairs=parent.pairs_paths(store) if parent else [],
            earlier_items=parent.items_paths(store) if parent else [],
            slice_items=slice_items,
        )
        pairs = put_parquet(store, f"datasets/{dataset}/pairs", PAIRS, derived.pairs())
        items = put_parquet(store, f"datasets/{dataset}/items", ITEMS, derived.items())
    skipped = dict(sorted(bad.counts.items()))
    if derived.duplicates:
        skipped["duplicate"] = derived.duplicates
    if not pairs.rows and parent is None:
        counts = ", ".join(f"{count} {reason}" for reason, count in skipped.items())
        raise SourceError(f"no row of the source can be used ({counts})", code="bad-rows", hint="check the file")
    return Revision(
        dataset=dataset,
        number=parent.revision + 1 if parent else 1,
        parent=parent.revision_sha if parent else None,
        format=format,
        sources=tuple(
            Source(first_source + i, item.file.uri, item.file.root, item.file.bytes, item.sha256, item.rows)
            for i, item in enumerate(new)
        ),
        pairs=pairs,
        items=items,
        slices=tuple(Slice(cut.unit, cut.source, items.file, cut.start, cut.rows) for cut in derived.slices),
        skipped=skipped,
    )


def _report(revision: Revision, new: list[StagedSource], n_files: int) -> IngestReport:
    return IngestReport(
        dataset=revision.dataset,
        format=revision.format,
        revision=revision.number,
        revision_sha=revision.sha,
        created=True,
        sources_added=len(new),
        sources_known=n_files - len(new),
        rows_read=sum(item.rows for item in new),
        pairs_added=revision.pairs.rows,
        items_added=revision.items.rows,
        slices_added=len(revision.slices),
        skipped=revision.skipped,
    )


def _nothing_new(parent: Dataset | None, format: str, n_files: int) -> IngestReport:
    assert parent is not None, "files are known only from an earlier revision"
    return IngestReport(
        dataset=parent.name,
        format=format,
        revision=parent.revision,
        revision_sha=parent.revision_sha,
        created=False,
        sources_added=0,
        sources_known=n_files,
        rows_read=0,
        pairs_added=0,
        items_added=0,
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
