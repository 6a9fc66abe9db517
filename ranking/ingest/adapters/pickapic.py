"""The Pick-a-Pic layout, v1 and v2, with or without images: the winner is where the labels say."""

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from ranking.ingest.adapters import parquet
from ranking.ingest.adapters.base import Adapter, Options
from ranking.ingest.raw import NO_LABEL, judgements
from ranking.ingest.sources import SourceFile

_REQUIRED = ("caption", "image_0_uid", "image_1_uid", "label_0", "label_1")
_OPTIONAL = ("has_label", "user_id", "model_0", "model_1", "created_at", "ranking_id")
_OURS = ("pair_id", "rater", "votes_0", "votes_1")  # what our own exports have besides, and Pick-a-Pic has not
_IMAGES = ("jpg_0", "jpg_1")


def mismatch(file: SourceFile) -> str | None:
    """Which needed columns the file lacks, or None."""
    return parquet.lacking(file, _REQUIRED)


def read(file: SourceFile, _options: Options) -> Iterator[pa.RecordBatch]:
    """The file's judgements; the images stay where they are."""
    names = parquet.schema_of(file).names
    images = [name if name in names else None for name in _IMAGES]
    wanted = (*_REQUIRED, *_OPTIONAL, *_OURS)
    for batch in parquet.batches(file, [name for name in wanted if name in names]):
        columns = {
            "row": batch.rows,
            "prompt": batch.text("caption"),
            "image_0_uid": batch.text("image_0_uid"),
            "image_1_uid": batch.text("image_1_uid"),
            "label_0": batch.number("label_0"),
            "label_1": batch.number("label_1"),
            "votes_0": batch.number("votes_0"),
            "votes_1": batch.number("votes_1"),
            "rater": pc.coalesce(batch.text("user_id"), batch.text("rater")),
            "model_0": batch.text("model_0"),
            "model_1": batch.text("model_1"),
            "created_at": batch.time("created_at"),
            "ranking": pc.coalesce(batch.text("ranking_id"), batch.text("pair_id")),
            **batch.places(images[0], images[1]),
        }
        yield judgements(columns, reasons={NO_LABEL: pc.equal(batch.flag("has_label"), False)})


ADAPTER = Adapter("pickapic", (".parquet",), mismatch, read)
