"""Exports a subset to a folder that trainers read: rows and images stream from the store's sources into shards, each
recorded as it is finished, and a manifest says at the end that all of it is there."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ranking.errors import EmptySubsetError, SourceError, UnknownNameError, UsageError
from ranking.images.reader import FetchUrl, ImageReader
from ranking.schema import TAKEN_DOWN
from ranking.store.blobs import Store
from ranking.subsets.catalog import Subset
from ranking.subsets.export import card, croissant
from ranking.subsets.export.cut import Group, cut
from ranking.subsets.export.folder import File, Folder, Shard, claimed, disk_errors, finished_manifest
from ranking.subsets.export.formats import FORMATS, Format, Writer
from ranking.subsets.export.lists import write_lists
from ranking.subsets.export.pictures import blocks
from ranking.subsets.export.provenance import ScorerFacts, provenance
from ranking.subsets.export.records import JsonLines
from ranking.subsets.export.rows import Rows, exported_rows

Progress = Callable[[int, int], None]
"""Called as progress(done, total) in pairs."""

SHARD_MB: Final = 500
LEFT_OUT: Final = "left-out.txt"
_PART_PAIRS: Final = 2_000  # of one part of JSON lines, after which work is not lost


@dataclass(frozen=True)
class ExportReport:
    """What an export came to. `left_out` counts pairs by reason: "taken_down", or why an image could not be read;
    `first_left_out` says it of one. `resumed` are pairs that an interrupted call had written."""

    path: str
    format: str
    subset: str
    pairs: int
    files: int
    bytes: int
    left_out: dict[str, int]
    first_left_out: str = ""
    resumed: int = 0


@dataclass
class _Tally:
    """What is counted on the way."""

    pairs: int = 0
    left_out: list[tuple[str, str]] = field(default_factory=list)
    endings: Counter[str] = field(default_factory=Counter)
    first: str = ""

    def add(self, shard: Shard) -> None:
        """Count a finished shard."""
        self.pairs += shard.rows
        self.left_out += shard.left_out
        self.endings += Counter(shard.endings)


def export_subset(
    store: Store,
    subset: Subset,
    to: Path,
    *,
    format: str,
    images: bool = True,
    shard_mb: int = SHARD_MB,
    strict: bool = False,
    licence: str | None = None,
    scorers: Mapping[str, ScorerFacts] | None = None,
    fetch: FetchUrl | None = None,
    progress: Progress | None = None,
) -> ExportReport:
    """Write the subset to the folder `to` in one of FORMATS, or go on where an interrupted call stopped.

    The images' bytes are those of the sources. The same subset and options give the same bytes anywhere, with the same
    versions of this package and pyarrow. Pairs with an image that was taken down or cannot be read are left out and
    counted; with `strict` the latter end the export. `fetch` gets images behind addresses, which are missing without.

    Raises UnknownNameError for another format, UsageError for a folder that holds anything else, SourceError for a
    source that is gone or, with `strict`, an image that cannot be read, StoreError for a damaged store or a full disk.
    """
    form = FORMATS.get(format)
    if form is None:
        raise UnknownNameError.among("export format", format, FORMATS)
    if shard_mb < 1:
        raise UsageError("a shard takes 1 MB or more", hint="give --shard-mb a larger number")
    images = images and form.images
    with exported_rows(store, subset) as rows:
        if not rows.count:
            raise _nothing(subset, "all of its pairs have an image that was taken down")
        facts = provenance(subset, rows, licence=licence, scorers=scorers or {})
        identity = {
            "subset": subset.ref,
            "sha256": subset.sha256,
            "format": format,
            "images": images,
            "shard_mb": shard_mb,
            "withheld": rows.withheld_sha,
            "software": facts["software"],
        }
        with claimed(to, identity) as folder:
            if folder is None:
                return _report_of(to)
            reader = ImageReader(store, rows.dataset, fetch=fetch) if images else None
            tally = _Tally()
            if form.writer is None:
                files = write_lists(folder, rows)
                tally.pairs, resumed = rows.count, 0
            else:
                writer = form.writer(folder, images)
                del folder.shards[writer.recall() :]
                for shard in folder.shards:
                    tally.add(shard)
                resumed = tally.pairs
                _write_shards(
                    subset, folder, writer, rows, reader, tally, shard_mb=shard_mb, strict=strict, progress=progress
                )
                files = writer.finish()
            folder.finish(_manifest(folder, form, facts, identity, rows, tally, files))
        return _report_of(to, first=tally.first, resumed=resumed)


def _write_shards(
    subset: Subset,
    folder: Folder,
    writer: Writer,
    rows: Rows,
    reader: ImageReader | None,
    tally: _Tally,
    *,
    shard_mb: int,
    strict: bool,
    progress: Progress | None,
) -> None:
    start = folder.shards[-1].stop if folder.shards else 0
    if start == rows.count:
        return
    kept: list[tuple[str, str]] = []
    endings: Counter[str] = Counter()
    written = 0
    with closing(blocks(rows, reader, start=start)) as read:
        for group in _parts(cut(read, shard_bytes=shard_mb * 1_000_000, start=start, end=rows.count), writer):
            for missing in group.left_out:
                if strict and missing.reason != TAKEN_DOWN:
                    raise SourceError(
                        f"pair {missing.pair_id} cannot be exported: {missing.message}",
                        code="image-unreadable",
                        hint="mend the source, or leave out --strict to leave out such pairs",
                    )
                tally.first = tally.first or f"pair {missing.pair_id}: {missing.message}"
                kept.append((missing.pair_id, missing.reason))
            if group.rows.num_rows:
                writer.write(group)
            written += group.rows.num_rows
            endings.update(picture.ending for side in group.pictures or () for picture in side)
            if group.last:
                if group.stop == rows.count and tally.pairs + written == 0:
                    raise _nothing(subset, f"no pair has two images that can be read ({tally.first})")
                shard = Shard(len(folder.shards), group.stop, written, writer.close(), tuple(kept), dict(endings))
                folder.finish_shard(shard)
                tally.add(shard)
                kept, endings, written = [], Counter(), 0
            if progress:
                progress(group.stop, rows.count)


def _nothing(subset: Subset, why: str) -> EmptySubsetError:
    return EmptySubsetError(f"subset {subset.ref} has nothing to export: {why}", hint="choose another subset")


def _parts(groups: Iterator[Group], writer: Writer) -> Iterator[Group]:
    """The groups; those of JSON lines end a part every few thousand pairs, as all of them become one file."""
    if not isinstance(writer, JsonLines):
        yield from groups
        return
    held = 0
    for group in groups:
        held += group.rows.num_rows
        group.last = group.last or held >= _PART_PAIRS
        held = 0 if group.last else held
        yield group


def _manifest(
    folder: Folder,
    form: Format,
    facts: dict[str, Any],
    identity: dict[str, Any],
    rows: Rows,
    tally: _Tally,
    files: tuple[File, ...],
) -> dict[str, Any]:
    """Write what describes the data; the manifest of all of it."""
    reasons = Counter(reason for _, reason in tally.left_out)
    reasons[TAKEN_DOWN] += rows.withheld
    left_out = {reason: count for reason, count in sorted(reasons.items()) if count}
    counts = {"pairs": tally.pairs, "left_out": left_out, "images": dict(sorted(tally.endings.items()))}
    if tally.left_out:
        lines = "".join(f"{pair} {reason}\n" for pair, reason in tally.left_out)
        files = (*files, folder.file(LEFT_OUT, lines.encode()))
    images = bool(identity["images"])
    described = croissant.croissant(
        facts, files, schema=form.schema(images), images=form.pictures if images else (), counts=counts
    )
    readme = card.card(facts, format=form.name, counts=counts, data_files=form.data_files, layout=form.layout)
    files = (*files, folder.file(croissant.FILE, described), folder.file(card.FILE, readme))
    return {
        "export": identity,
        "counts": counts,
        "provenance": facts,
        "files": [vars(file) for file in sorted(files, key=lambda file: file.path)],
    }


def _report_of(to: Path, *, first: str = "", resumed: int = 0) -> ExportReport:
    with disk_errors(to):
        manifest = finished_manifest(to)
    assert manifest is not None, "a finished export has its manifest"
    counts, files = manifest["counts"], manifest["files"]
    return ExportReport(
        str(to),
        manifest["export"]["format"],
        manifest["export"]["subset"],
        counts["pairs"],
        len(files) + 1,
        sum(file["bytes"] for file in files),
        counts["left_out"],
        first,
        resumed,
    )
