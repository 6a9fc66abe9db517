"""Any table of pairs: Parquet, CSV or JSON objects whose columns have our names or are mapped to them. Knows no
dataset."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ranking.errors import SourceError
from ranking.ingest.adapters import parquet, texts
from ranking.ingest.adapters.base import Adapter, Options
from ranking.ingest.adapters.paths import beneath, folder_of, is_address, is_bad_path
from ranking.ingest.adapters.pictures import ROWS, pictures
from ranking.ingest.raw import BAD_PATH, NO_LABEL, judgements
from ranking.ingest.sources import SourceFile

NAMES: Final = (
    "prompt",
    "image_0",
    "image_1",
    "image_0_uid",
    "image_1_uid",
    "label",
    "label_0",
    "label_1",
    "votes_0",
    "votes_1",
    "chosen",
    "rejected",
    "chosen_uid",
    "rejected_uid",
    "chosen_model",
    "rejected_model",
    "rater",
    "model_0",
    "model_1",
    "created_at",
)
"""What `--columns` may map. The winner is image 0 where a table says chosen and rejected."""

_FIRST: Final = ("0", "0.0", "image_0", "image 0", "image0", "left", "first", "a")
_SECOND: Final = ("1", "1.0", "image_1", "image 1", "image1", "right", "second", "b")
_TIE: Final = ("0.5", "tie", "draw", "equal", "same")
_PATHLIKE: Final = r"[/\\]|(?i)\.(jpe?g|png|webp)$|^[A-Za-z][A-Za-z0-9+.-]*:"


@dataclass(frozen=True)
class Layout:
    """Which column of the file, if any, has what we call so, and the types of those columns."""

    columns: Mapping[str, str]
    kinds: Mapping[str, pa.DataType]

    def side(self, side: int, what: str) -> str | None:
        """The column of an image's `what` ("", "_uid" or "_model")."""
        word = ("chosen", "rejected")[side]
        ours = f"model_{side}" if what == "_model" else f"image_{side}{what}"
        return self.columns.get(ours) or self.columns.get(f"{word}{what}")

    def embedded(self, side: int) -> str | None:
        """The column that holds an image's bytes, dotted where nested; None if images are named by texts."""
        column = self.side(side, "")
        if column is None or _is_text(self.kinds[column]):
            return None
        return f"{column}.bytes" if pa.types.is_struct(self.kinds[column]) else column

    def needed(self) -> list[str]:
        """The columns to read: bytes only where nothing else tells images apart."""
        unread = {self.side(side, "") for side in (0, 1) if self.embedded(side) and self.side(side, "_uid")}
        return list(dict.fromkeys(column for column in self.columns.values() if column not in unread))

    def flaw(self) -> str | None:
        """What a table of pairs needs and this one lacks, or None."""
        if "prompt" not in self.columns:
            return "no column for prompt"
        for side in (0, 1):
            if self.side(side, "") is None and self.side(side, "_uid") is None:
                return f"no column for image_{side} or image_{side}_uid"
        if not self.decides():
            return "no column for label, label_0 and label_1, votes_0 and votes_1, or chosen and rejected"
        return None

    def decides(self) -> str | None:
        """The form in which the table names the winner."""
        for form, needed in (
            ("labels", ("label_0", "label_1")),
            ("label", ("label",)),
            ("chosen", ("chosen", "rejected")),
            ("chosen", ("chosen_uid", "rejected_uid")),
            ("votes", ("votes_0", "votes_1")),
        ):
            if all(name in self.columns for name in needed):
                return form
        return None


def mismatch(file: SourceFile) -> str | None:
    """What the file lacks to be a table with our own names, or None."""
    if not texts.is_text(file) and (reason := parquet.lacking(file, ())):
        return reason
    names = _names(file)
    if isinstance(names, str):
        return names
    flaw = _layout(names, {}).flaw()
    return f"it has {flaw} (its columns are {_listed(names)})" if flaw else None


def read(file: SourceFile, options: Options) -> Iterator[pa.RecordBatch]:
    """The file's judgements; of images only what tells them apart is read, and that only where they have no uid."""
    names = _names(file)
    if isinstance(names, str):
        raise SourceError(f"source {file.uri} is no table: {names}", code="source-columns", hint="check the file")
    for ours, theirs in options.columns.items():
        if theirs not in names:
            raise SourceError(
                f"source {file.uri} has no column {theirs}, which --columns names for {ours}",
                code="source-columns",
                hint=f"its columns are {_listed(names)}",
            )
    layout = _layout(names, options.columns)
    if flaw := layout.flaw():
        raise SourceError(
            f"source {file.uri} has {flaw}",
            code="source-columns",
            hint=f"map its columns {_listed(names)} by --columns",
        )
    for batch in _batches(file, layout):
        yield _judged(batch, layout, options)


ADAPTER = Adapter("table", (".parquet", *texts.SUFFIXES), mismatch, read)


def _layout(names: Mapping[str, pa.DataType], mapped: Mapping[str, str]) -> Layout:
    found = {ours: mapped.get(ours, ours) for ours in NAMES if ours in mapped or ours in names}
    return Layout(found, {theirs: names[theirs] for theirs in found.values()})


def _judged(batch: parquet.Batch, layout: Layout, options: Options) -> pa.RecordBatch:
    def text(column: str | None) -> pa.Array:
        return batch.text(column) if column else pa.nulls(batch.columns.num_rows, pa.string())

    columns = {
        "row": batch.rows,
        "prompt": text(layout.columns["prompt"]),
        "rater": text(layout.columns.get("rater")),
        "created_at": _time(batch, layout.columns.get("created_at")),
        **_labels(batch, layout),
    }
    bad = pa.array(np.zeros(batch.columns.num_rows, bool))
    for side in (0, 1):
        columns[f"model_{side}"] = text(layout.side(side, "_model"))
        found, bad_here = _image(batch, layout, side, options=options)
        columns |= found
        bad = pc.or_(bad, pc.fill_null(bad_here, False))
    unlabelled = pc.and_(columns["label_0"].is_null(), columns["label_1"].is_null())
    return judgements(columns, reasons={BAD_PATH: bad, NO_LABEL: unlabelled})


def _image(
    batch: parquet.Batch, layout: Layout, side: int, *, options: Options
) -> tuple[dict[str, pa.Array], pa.Array]:
    """Uid and pointer of one side's images, and which of them have a path that may not be followed."""
    column, uid, cell = layout.side(side, ""), layout.side(side, "_uid"), layout.embedded(side)
    uids = {f"image_{side}_uid": batch.text(uid)} if uid else {}
    fine = pa.array(np.zeros(batch.columns.num_rows, bool))
    if column is None:
        return uids, fine
    if cell and uid:
        places = batch.places(None if side else cell, cell if side else None)
        return uids | places, fine
    if cell:
        found = pictures(batch, column, options)
        return found.side(side), found.bad_path
    spelled = batch.text(column)
    address = pc.fill_null(is_address(spelled), False)
    path = pc.and_not(pc.fill_null(pc.match_substring_regex(spelled, _PATHLIKE), False), address)
    below = pc.if_else(path, beneath(folder_of(batch.file, options), spelled), pa.scalar(None, pa.string()))
    files = {f"file_{side}": pc.if_else(address, spelled, below)}
    # A path names an image only together with the folder it starts in.
    named = {f"image_{side}_uid": pc.if_else(path, below, spelled)}
    return named | files | uids, pc.and_(path, is_bad_path(spelled))


def _labels(batch: parquet.Batch, layout: Layout) -> dict[str, pa.Array]:
    votes = {name: _number(batch, layout.columns[name]) for name in ("votes_0", "votes_1") if name in layout.columns}
    form = layout.decides()
    if form == "labels":
        first, second = (_number(batch, layout.columns[name]) for name in ("label_0", "label_1"))
    elif form == "label":
        words = pc.utf8_lower(pc.utf8_trim_whitespace(batch.text(layout.columns["label"])))
        first = _among(words, {1.0: _FIRST, 0.0: _SECOND, 0.5: _TIE})
        second = pc.subtract(1.0, first)
    elif form == "chosen":
        first, second = (pa.array(np.full(batch.columns.num_rows, label)) for label in (1.0, 0.0))
    else:
        one, other = votes["votes_0"], votes["votes_1"]
        more, less = pc.greater(one, other), pc.less(one, other)
        first = pc.if_else(more, 1.0, pc.if_else(less, 0.0, pc.if_else(pc.greater(one, 0.0), 0.5, None)))
        second = pc.subtract(1.0, first)
    return {"label_0": first, "label_1": second, **votes}


def _among(words: pa.Array, meanings: Mapping[float, Sequence[str]]) -> pa.Array:
    """The number that each word means; null for null, NaN, which is no label, for a word that means none."""
    found = pc.if_else(words.is_null(), pa.scalar(None, pa.float64()), math.nan)
    for number, spelled in meanings.items():
        found = pc.if_else(pc.is_in(words, value_set=pa.array(spelled)), number, found)
    return found


def _number(batch: parquet.Batch, column: str) -> pa.Array:
    values = batch.columns.column(column)
    if not _is_text(values.type):
        return batch.number(column)
    return batch.column(
        column, lambda cells: pc.cast(pc.utf8_trim_whitespace(pc.cast(cells, pa.string())), pa.float64()), pa.float64()
    )


def _time(batch: parquet.Batch, column: str | None) -> pa.Array:
    kind = pa.timestamp("us")
    if column is None:
        return pa.nulls(batch.columns.num_rows, kind)
    if not _is_text(batch.columns.column(column).type):
        return batch.time(column)

    def convert(cells: pa.Array) -> pa.Array:
        spelled = pc.cast(cells, pa.string())
        try:
            return pc.cast(spelled, kind)
        except pa.ArrowInvalid:  # with a zone, then
            return pc.cast(pc.cast(spelled, pa.timestamp("us", "UTC")), kind)

    return batch.column(column, convert, kind)


def _is_text(kind: pa.DataType) -> bool:
    inner = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(inner) or pa.types.is_large_string(inner) or pa.types.is_string_view(inner))


def _names(file: SourceFile) -> dict[str, pa.DataType] | str:
    """The file's columns and their types, or in a few words why it has none."""
    if texts.is_text(file):
        names = texts.names(file)
        return names if isinstance(names, str) else dict.fromkeys(names, pa.string())
    schema = parquet.schema_of(file)
    return dict(zip(schema.names, schema.types, strict=True))


def _batches(file: SourceFile, layout: Layout) -> Iterator[parquet.Batch]:
    if texts.is_text(file):
        return texts.batches(file, layout.needed())
    pictured = any(layout.embedded(side) and not layout.side(side, "_uid") for side in (0, 1))
    return parquet.batches(file, layout.needed(), rows=ROWS if pictured else parquet.BATCH_ROWS)


def _listed(names: Iterable[str]) -> str:
    known = list(names)
    more = f" and {len(known) - 30} more" if len(known) > 30 else ""
    return ", ".join(name[:64] for name in known[:30]) + more
