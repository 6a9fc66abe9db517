"""The layouts of Rapidata's comparisons, as its dataset cards list the columns: the older one with votes, the newer one
with weighted results for preference, coherence and alignment. What scale the weights have is not documented.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ranking.ingest.adapters import parquet
from ranking.ingest.adapters.base import Adapter, Options
from ranking.ingest.adapters.parquet import Batch
from ranking.ingest.adapters.pictures import ROWS, Pictures, pictures
from ranking.ingest.adapters.ranked import labels
from ranking.ingest.adapters.rated import interleaved, rated
from ranking.ingest.raw import BAD_PATH, NO_LABEL, judgements
from ranking.ingest.sources import SourceFile

_PAIR = ("prompt", "image1", "image2")
_OLD = ("votes_image1", "votes_image2")
_NEW = ("weighted_results_image1_preference", "weighted_results_image2_preference")
_MODELS = ("model1", "model2")
_RATED: Final = ("coherence", "alignment")


def mismatch(file: SourceFile) -> str | None:
    """Why the file is neither form, or None."""
    old = parquet.lacking(file, (*_PAIR, *_OLD))
    if old is None or parquet.lacking(file, (*_PAIR, *_NEW)) is None:
        return None
    return f"{old}, or {', '.join(_NEW)}"


def read(file: SourceFile, options: Options) -> Iterator[pa.RecordBatch]:
    """The file's judgements by preference, and in the newer form each image's share of the other two results."""
    names = parquet.schema_of(file).names
    votes = _NEW if _NEW[0] in names else _OLD
    shares = {name: _results(name) for name in _RATED if all(column in names for column in _results(name))}
    optional = [name for name in _MODELS if name in names]
    wanted = [*_PAIR, *votes, *optional, *(column for pair in shares.values() for column in pair)]
    for batch in parquet.batches(file, wanted, rows=ROWS):
        images = (pictures(batch, "image1", options), pictures(batch, "image2", options))
        yield _judgements(batch, images, votes)
        if shares:
            yield _ratings(batch, images, shares)


def _results(name: str) -> tuple[str, str]:
    return (f"weighted_results_image1_{name}", f"weighted_results_image2_{name}")


def _judgements(batch: Batch, images: tuple[Pictures, Pictures], names: tuple[str, str]) -> pa.RecordBatch:
    votes = (batch.number(names[0]), batch.number(names[1]))
    label_0, label_1 = labels(*(pc.fill_null(side, np.nan).to_numpy() for side in votes))
    columns = {
        "row": batch.rows,
        "prompt": batch.text("prompt"),
        "label_0": label_0,
        "label_1": label_1,
        "votes_0": votes[0],
        "votes_1": votes[1],
        "model_0": batch.text("model1"),
        "model_1": batch.text("model2"),
        **images[0].side(0),
        **images[1].side(1),
    }
    reasons = {
        NO_LABEL: pc.or_kleene(pc.and_(votes[0].is_null(), votes[1].is_null()), pc.equal(pc.add(*votes), 0.0)),
        BAD_PATH: pc.or_kleene(images[0].bad_path, images[1].bad_path),
    }
    return judgements(columns, reasons=reasons)


def _ratings(batch: Batch, images: tuple[Pictures, Pictures], names: dict[str, tuple[str, str]]) -> pa.RecordBatch:
    values = {}
    for name, columns in names.items():
        results = [batch.number(column) for column in columns]
        total = pc.add(*results)
        # Of the pair's results, as pairs were shown to different numbers of people. A negative one is none at all.
        sound = pc.and_(pc.greater_equal(results[0], 0.0), pc.greater_equal(results[1], 0.0))
        shares = [pc.if_else(sound, pc.divide(result, total), np.nan) for result in results]
        asked = pc.not_equal(total, 0.0)
        values[f"rapidata-{name}"] = interleaved([pc.if_else(asked, share, None) for share in shares])
    return rated(
        interleaved([batch.rows, batch.rows]),
        interleaved([image.uids for image in images]),
        interleaved([batch.text("prompt")] * 2),
        values,
    )


ADAPTER = Adapter("rapidata", (".parquet",), mismatch, read, yields="both")
