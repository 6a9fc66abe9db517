"""The layouts of open-image-preferences-v1: the raw results with every response, and the binarised set. Both as the
authors' notebooks write them, whose rule decides the winner of a raw row.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ranking.ingest.adapters import parquet
from ranking.ingest.adapters.base import Adapter, Options
from ranking.ingest.adapters.parquet import Batch
from ranking.ingest.adapters.paths import beneath, folder_of, is_address, is_bad_path
from ranking.ingest.adapters.pictures import ROWS, pictures
from ranking.ingest.adapters.ranked import Whole
from ranking.ingest.raw import BAD_PATH, BAD_VOTES, NO_LABEL, judgements
from ranking.ingest.sources import SourceFile

_RAW = ("images", "preference.responses")
_RAW_MODELS = ("model_1", "model_2")
_BINARISED = ("prompt", "chosen", "rejected", "chosen_model", "rejected_model")
_ANSWERS: Final = ("image_1", "image_2", "both_good", "both_bad", "toxic", "toxic_content")
# An address on the hub ends in the path of the image within the repository.
_ON_THE_HUB: Final = r"^https://[^/]+/.*/resolve/[^/]+/(?P<path>.+)$"


def mismatch(file: SourceFile) -> str | None:
    """Why the file is neither form, or None."""
    raw = parquet.lacking(file, _RAW)
    if raw is None or parquet.lacking(file, _BINARISED) is None:
        return None
    return f"{raw}, or {', '.join(_BINARISED)}"


def read(file: SourceFile, options: Options) -> Iterator[pa.RecordBatch]:
    """The file's judgements: the winner by the authors' rule, or the chosen image, which is image 0."""
    names = parquet.schema_of(file).names
    if parquet.lacking(file, _RAW) is None:
        wanted = [*_RAW, *(name for name in _RAW_MODELS if name in names)]
        yield from (_raw(batch, options) for batch in parquet.batches(file, wanted))
    else:
        yield from (_binarised(batch, options) for batch in parquet.batches(file, _BINARISED, rows=ROWS))


def _raw(batch: Batch, options: Options) -> pa.RecordBatch:
    counts, unknown = _count(batch)
    image_1, image_2, both_good, both_bad, toxic = counts[0], counts[1], counts[2], counts[3], counts[4] + counts[5]
    votes = (image_1 + both_good, image_2 + both_good)
    best = np.maximum(*votes)
    # The rule: more votes than the other image and than "both bad". What that leaves is a tie, unless as many or more
    # found both images bad or toxic.
    won = [(votes[side] > votes[1 - side]) & (votes[side] > both_bad) for side in range(2)]
    tied = (votes[0] == votes[1]) & (best > np.maximum(both_bad, toxic))
    label_0 = np.where(won[0], 1.0, np.where(won[1], 0.0, 0.5))
    columns = {
        "row": batch.rows,
        "prompt": _field(batch, "prompt"),
        "label_0": pa.array(label_0),
        "label_1": pa.array(1.0 - label_0),
        "votes_0": pa.array(votes[0].astype(np.float64)),
        "votes_1": pa.array(votes[1].astype(np.float64)),
        "model_0": batch.text("model_1"),
        "model_1": batch.text("model_2"),
    }
    bad_path = []
    for side, name in enumerate(("image_1", "image_2")):
        address = _field(batch, name)
        path = pc.coalesce(pc.struct_field(pc.extract_regex(address, _ON_THE_HUB), "path"), address)
        where = address if options.images is None else path
        remote = pc.fill_null(is_address(where), False)
        columns[f"image_{side}_uid"] = path
        columns[f"file_{side}"] = pc.if_else(remote, where, beneath(folder_of(batch.file, options), where))
        bad_path.append(pc.and_not(is_bad_path(where), remote))
    reasons = {
        BAD_VOTES: unknown,
        NO_LABEL: pa.array(~(won[0] | won[1] | tied)),
        BAD_PATH: pc.or_kleene(bad_path[0], bad_path[1]),
    }
    return judgements(columns, reasons=reasons)


def _count(batch: Batch) -> tuple[Whole, pa.Array]:
    """How often each answer was given (answers × rows), and which rows have one that the project did not offer."""
    responses = batch.column(
        "preference.responses", lambda cells: pc.cast(cells, pa.list_(pa.string())), pa.list_(pa.string())
    )
    given, rows = pc.list_flatten(responses), batch.columns.num_rows
    owners = pc.list_parent_indices(responses).to_numpy()
    codes = pc.index_in(given, pa.array(_ANSWERS))
    known = codes.is_valid().to_numpy(zero_copy_only=False)
    cells = owners[known] * len(_ANSWERS) + codes.drop_null().to_numpy()
    counts = np.bincount(cells, minlength=rows * len(_ANSWERS)).reshape(rows, len(_ANSWERS)).T
    strange = given.is_valid().to_numpy(zero_copy_only=False) & ~known
    return counts.astype(np.int64), pa.array(np.bincount(owners[strange], minlength=rows) > 0)


def _field(batch: Batch, name: str) -> pa.Array:
    return batch.column("images", lambda cells: pc.cast(pc.struct_field(cells, name), pa.string()), pa.string())


def _binarised(batch: Batch, options: Options) -> pa.RecordBatch:
    chosen, rejected = pictures(batch, "chosen", options), pictures(batch, "rejected", options)
    rows = batch.columns.num_rows
    columns = {
        "row": batch.rows,
        "prompt": batch.text("prompt"),
        "label_0": pa.array(np.ones(rows)),
        "label_1": pa.array(np.zeros(rows)),
        "model_0": batch.text("chosen_model"),
        "model_1": batch.text("rejected_model"),
        **chosen.side(0),
        **rejected.side(1),
    }
    return judgements(columns, reasons={BAD_PATH: pc.or_kleene(chosen.bad_path, rejected.bad_path)})


ADAPTER = Adapter("openprefs", (".parquet",), mismatch, read)
