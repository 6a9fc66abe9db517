"""The layouts of ImageRewardDB, as its loading script gives them: rows of ranked and rated images (the parts' JSON, the
metadata files, the flat configuration), groups of a prompt, and pairs. The Parquet forms of the last three are what
that script yields; no published file of them was seen.
"""

from collections.abc import Iterator, Sequence
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from ranking.ingest.adapters import parquet
from ranking.ingest.adapters.base import Adapter, Options
from ranking.ingest.adapters.documents import Documents, documents, first_object
from ranking.ingest.adapters.gathered import Ranked, ranked, taken_apart
from ranking.ingest.adapters.parquet import Batch
from ranking.ingest.adapters.paths import beneath, folder_of, is_bad_path
from ranking.ingest.adapters.pictures import ROWS, Pictures, pictured, pictures
from ranking.ingest.raw import BAD_PATH, judgements
from ranking.ingest.sources import SourceFile

_RATINGS: Final = {
    "imagereward-overall": "overall_rating",
    "imagereward-alignment": "image_text_alignment_rating",
    "imagereward-fidelity": "fidelity_rating",
}
_RANKED = ("prompt_id", "prompt", "rank", *_RATINGS.values())
_PAIR = ("prompt", "img_better", "img_worse")
_GROUPS: Final = 1_024  # read at once
_FOLDERS_AND_ENDING: Final = r"^.*/|\.[A-Za-z0-9]+$"
_UUID: Final = r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"


def mismatch(file: SourceFile) -> str | None:
    """Why the file is none of the forms, or None."""
    if parquet.is_parquet(file):
        forms = (_PAIR, (*_RANKED, "image"), (*_RANKED, "image_path"))
        reasons = [parquet.lacking(file, names) for names in forms]
        return None if None in reasons else f"{reasons[1]}, or {', '.join(_PAIR)}"
    first = first_object(file)
    if isinstance(first, str):
        return first
    missing = [name for name in ("prompt_id", "prompt", "image_path") if not isinstance(first.get(name), str)]
    return f"its rows have no {', '.join(missing)}" if missing else None


def read(file: SourceFile, options: Options) -> Iterator[pa.RecordBatch]:
    """The file's judgements, by rank where its rows are single images or groups, and the ratings of the images."""
    if not parquet.is_parquet(file):
        return taken_apart(file, (_from_json(batch, file, options) for batch in documents(file)))
    schema = parquet.schema_of(file)
    if "img_better" in schema.names:
        return _pairs(file, options)
    if "image_path" in schema.names:
        batches = parquet.batches(file, [*_RANKED, "image_path"])
        return taken_apart(file, (_from_metadata(batch, options) for batch in batches))
    if pa.types.is_list(schema.field("image").type) or pa.types.is_large_list(schema.field("image").type):
        batches = parquet.batches(file, [*_RANKED, "image.list.element.path"], rows=_GROUPS)
        return taken_apart(file, (_from_groups(batch, options) for batch in batches))
    found = _with_images(file, _RANKED, ("image",), options)
    return taken_apart(file, (_from_cells(batch, images[0]) for batch, images in found))


def _from_json(batch: Documents, file: SourceFile, options: Options) -> Ranked:
    """Rows of a part's JSON. Their images lie beside it, whatever folders `image_path` says; under the folder that the
    user named they lie as it says."""
    paths = batch.text("image_path")
    beside = pc.replace_substring_regex(paths, r"^.*/", "")
    files = beneath(folder_of(file, options), beside) if options.images is None else paths
    images = pictured(uids=_uids(paths), files=files, bad_path=is_bad_path(paths))
    values = {name: batch.number(column) for name, column in _RATINGS.items()}
    return ranked(
        batch.rows, batch.text("prompt_id"), batch.text("prompt"), batch.number("rank"), images=images, values=values
    )


def _from_metadata(batch: Batch, options: Options) -> Ranked:
    paths = batch.text("image_path")
    files = beneath(folder_of(batch.file, options), paths)
    return _from_cells(batch, pictured(uids=_uids(paths), files=files, bad_path=is_bad_path(paths)))


def _from_cells(batch: Batch, images: Pictures) -> Ranked:
    values = {name: batch.number(column) for name, column in _RATINGS.items()}
    return ranked(
        batch.rows, batch.text("prompt_id"), batch.text("prompt"), batch.number("rank"), images=images, values=values
    )


def _from_groups(batch: Batch, options: Options) -> Ranked:
    """Rows that are groups. An image in a list has no place of its own to point at, so only its file can be found, and
    only in the folder that the user named."""
    owners, paths = [], []
    lists: dict[str, list[float | None]] = {name: [] for name in ("rank", *_RATINGS)}
    cells = batch.columns.column("image").to_pylist()
    sources = {"rank": "rank", **_RATINGS}
    numbers = {name: batch.columns.column(column).to_pylist() for name, column in sources.items()}
    for row, cell in enumerate(cells):
        images = cell or [None]  # stays one row, which says what is wrong with it
        size = len(images)
        owners += [row] * size
        paths += [image["path"] if image else None for image in images]
        for name, values in numbers.items():
            fits = isinstance(values[row], list) and len(values[row]) == size
            lists[name] += values[row] if fits else [None] * size
    owner = pa.array(owners, pa.int64())
    names = pc.replace_substring_regex(pa.array(paths, pa.string()), r"^.*/", "")
    files = names if options.images is not None else pa.nulls(len(names), pa.string())
    return ranked(
        batch.rows.take(owner),
        pc.cast(batch.rows.take(owner), pa.string()),
        batch.text("prompt").take(owner),
        pa.array(lists.pop("rank"), pa.float64()),
        images=pictured(uids=_uids(names), files=files, bad_path=is_bad_path(names)),
        values={name: pa.array(values, pa.float64()) for name, values in lists.items()},
    )


def _pairs(file: SourceFile, options: Options) -> Iterator[pa.RecordBatch]:
    for batch, (better, worse) in _with_images(file, ("prompt",), ("img_better", "img_worse"), options):
        rows = batch.columns.num_rows
        columns = {
            "row": batch.rows,
            "prompt": batch.text("prompt"),
            "label_0": pa.array([1.0] * rows),
            "label_1": pa.array([0.0] * rows),
            **better.side(0),
            **worse.side(1),
        }
        yield judgements(columns, reasons={BAD_PATH: pc.or_kleene(better.bad_path, worse.bad_path)})


def _with_images(
    file: SourceFile, others: Sequence[str], names: Sequence[str], options: Options
) -> Iterator[tuple[Batch, list[Pictures]]]:
    """Batches with the images of the columns `names`. The original names are UUIDs; where the cells kept them all, the
    bytes need not be read."""
    paths = [f"{name}.path" for name in names]
    if _all_uuids(file, names, paths):
        for batch in parquet.batches(file, [*others, *paths]):
            yield batch, [_by_name(batch, name) for name in names]
    else:
        for batch in parquet.batches(file, [*others, *names], rows=ROWS):
            yield batch, [pictures(batch, name, options) for name in names]


def _all_uuids(file: SourceFile, names: Sequence[str], paths: Sequence[str]) -> bool:
    schema = parquet.schema_of(file)
    types = [schema.field(name).type for name in names]
    if not all(pa.types.is_struct(kind) and {field.name for field in kind} >= {"bytes", "path"} for kind in types):
        return False
    found = (_named(batch, name) for batch in parquet.batches(file, paths) for name in names)
    return all(pc.all(pc.fill_null(pc.match_substring_regex(uids, _UUID), False)).as_py() for uids in found)


def _by_name(batch: Batch, name: str) -> Pictures:
    place = {field.removesuffix("_0"): values for field, values in batch.places(f"{name}.bytes", None).items()}
    no = pa.array([False] * batch.columns.num_rows)
    return Pictures(_named(batch, name), {**place, "file": pa.nulls(batch.columns.num_rows, pa.string())}, no)


def _named(batch: Batch, name: str) -> pa.Array:
    paths = batch.column(name, lambda cells: pc.cast(pc.struct_field(cells, "path"), pa.string()), pa.string())
    return _uids(paths)


def _uids(paths: pa.Array) -> pa.Array:
    """A file's name without its ending where that is a UUID: so an image has one uid in all forms. Else the path."""
    stems = pc.replace_substring_regex(paths, _FOLDERS_AND_ENDING, "")
    return pc.if_else(pc.match_substring_regex(stems, _UUID), stems, paths)


ADAPTER = Adapter("imagerewarddb", (".json", ".parquet"), mismatch, read, yields="both")
