"""The layout of HPDv3 and of HPDv3++'s pairs, as their READMEs give it: JSON arrays whose `path1` is always the
preferred image. Whether `choice_dist` always has the votes for `path1` first could not be checked on the data.
"""

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from ranking.ingest.adapters.base import Adapter, Options
from ranking.ingest.adapters.documents import documents, first_object
from ranking.ingest.adapters.paths import beneath, folder_of, is_bad_path
from ranking.ingest.raw import BAD_PATH, BAD_VOTES, judgements
from ranking.ingest.sources import SourceFile

_REQUIRED = ("prompt", "path1", "path2")


def mismatch(file: SourceFile) -> str | None:
    """Why the file is not an array of such objects, or None."""
    first = first_object(file)
    if isinstance(first, str):
        return first
    missing = [name for name in _REQUIRED if not isinstance(first.get(name), str)]
    return f"its rows have no {', '.join(missing)}" if missing else None


def read(file: SourceFile, options: Options) -> Iterator[pa.RecordBatch]:
    """The file's judgements; votes where they were published, whether or not they agree with the order."""
    folder = folder_of(file, options)
    for batch in documents(file):
        paths = [batch.text("path1"), batch.text("path2")]
        votes = batch.numbers("choice_dist", 2)
        given = pa.array([item.get("choice_dist") is not None for item in batch.objects])
        rows = len(batch.objects)
        columns = {
            "row": batch.rows,
            "prompt": batch.text("prompt"),
            "image_0_uid": paths[0],
            "image_1_uid": paths[1],
            "label_0": pa.array([1.0] * rows),
            "label_1": pa.array([0.0] * rows),
            "votes_0": votes[0],
            "votes_1": votes[1],
            "model_0": batch.text("model1"),
            "model_1": batch.text("model2"),
            "file_0": beneath(folder, paths[0]),
            "file_1": beneath(folder, paths[1]),
        }
        counted = pc.greater(pc.add(votes[0], votes[1]), 0.0)
        yield judgements(
            columns,
            reasons={
                BAD_PATH: pc.or_kleene(is_bad_path(paths[0]), is_bad_path(paths[1])),
                BAD_VOTES: pc.and_(given, pc.invert(pc.fill_null(counted, False))),
            },
        )


ADAPTER = Adapter("hpdv3", (".json", ".jsonl"), mismatch, read)
