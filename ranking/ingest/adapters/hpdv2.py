"""The layout of HPDv2 as its authors' README and code give it: `train.json` of pairs and `test.json` of ranked groups,
images in the folders `train` and `test` beside them. Knows nothing of the benchmark prompts.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ranking.ingest.adapters.base import Adapter, Options
from ranking.ingest.adapters.documents import Documents, as_list, as_number, as_text, documents, first_object
from ranking.ingest.adapters.paths import beneath, folder_of, is_bad_path
from ranking.ingest.adapters.ranked import MAX_IMAGES, Real, all_pairs, labels
from ranking.ingest.raw import BAD_PATH, BAD_VOTES, MISSING_IMAGE, TOO_MANY_IMAGES, judgements
from ranking.ingest.sources import SourceFile

_TRAIN = ("prompt", "file_path", "human_preference")
_TEST = ("prompt", "image_path", "rank")
_GROUPS: Final = 32  # at once: with 64 images each they have as many pairs as a batch may


def mismatch(file: SourceFile) -> str | None:
    """Why the file is neither form, or None."""
    first = first_object(file)
    if isinstance(first, str):
        return first
    if _is(first, _TRAIN) or _is(first, _TEST):
        return None
    return f"its rows have neither {', '.join(_TRAIN)} nor {', '.join(_TEST)}"


def read(file: SourceFile, options: Options) -> Iterator[pa.RecordBatch]:
    """The file's judgements: pairs as they are, groups as all their pairs with the votes of all annotators."""
    first = first_object(file)
    trained = isinstance(first, dict) and _is(first, _TRAIN)
    base = folder_of(file, options) if options.images is None else None
    for batch in documents(file):
        if trained:
            yield _pairs(batch, base)
        else:
            for start in range(0, len(batch.objects), _GROUPS):
                part = slice(start, start + _GROUPS)
                yield _groups(Documents(batch.rows[part], batch.objects[part]), base)


def _is(row: dict[str, Any], names: tuple[str, str, str]) -> bool:
    prompt, paths, order = (row.get(name) for name in names)
    return isinstance(prompt, str) and isinstance(paths, list) and isinstance(order, list)


def _pairs(batch: Documents, base: str | None) -> pa.RecordBatch:
    paths = batch.texts("file_path", 2)
    preferred = batch.numbers("human_preference", 2)
    tied = pc.equal(preferred[0], preferred[1])
    columns = {
        "row": batch.rows,
        "prompt": batch.text("prompt"),
        "label_0": pc.if_else(tied, 0.5, preferred[0]),
        "label_1": pc.if_else(tied, 0.5, preferred[1]),
        "rater": batch.text("user_hash"),
        **_images(paths, "train", base),
    }
    return judgements(columns, reasons={BAD_PATH: _any_bad(paths)})


def _groups(batch: Documents, base: str | None) -> pa.RecordBatch:
    groups = [_Group.of(item) for item in batch.objects]
    sizes = np.array([len(group.paths) for group in groups], dtype=np.int64)
    first, second = all_pairs(sizes)
    owner = pa.array(np.repeat(np.arange(len(groups)), sizes)[first])
    flat = pa.array([path for group in groups for path in group.paths], pa.string())
    votes_0, votes_1 = (np.concatenate([group.votes[side] for group in groups]) for side in range(2))
    ranks = np.concatenate([group.ranks for group in groups])
    voted = np.repeat([group.voted for group in groups], sizes)[first]
    # A lower rank is better: the authors' evaluation gives 0 to the image with the highest score.
    label_0, label_1 = labels(
        np.where(voted, votes_0, -ranks[first]),
        np.where(voted, votes_1, -ranks[second]),
    )
    paths = [flat.take(pa.array(first)), flat.take(pa.array(second))]
    columns = {
        "row": batch.rows.take(owner),
        "prompt": batch.text("prompt").take(owner),
        "label_0": label_0,
        "label_1": label_1,
        "votes_0": pa.array(votes_0, mask=~voted),
        "votes_1": pa.array(votes_1, mask=~voted),
        **_images(paths, "test", base),
    }
    reasons = {
        TOO_MANY_IMAGES: pa.array([group.too_many for group in groups]).take(owner),
        MISSING_IMAGE: pc.or_(paths[0].is_null(), paths[1].is_null()),
        BAD_PATH: _any_bad(paths),
        BAD_VOTES: pa.array(voted & np.isnan(votes_0)),
    }
    return judgements(columns, reasons=reasons)


@dataclass(frozen=True)
class _Group:
    """The images of one prompt, their ranks, and for each pair how many annotators put which of the two first (NaN
    where the annotations cannot be read)."""

    paths: list[str | None]
    ranks: Real
    votes: tuple[Real, Real]
    voted: bool
    too_many: bool

    @classmethod
    def of(cls, item: dict[str, Any]) -> "_Group":
        paths = [as_text(path) for path in as_list(item.get("image_path"))]
        too_many = len(paths) > MAX_IMAGES
        if too_many or len(paths) < 2:
            # It stays one row, which says what is wrong with it.
            paths = [None, None]
        annotations = as_list(item.get("raw_annotations"))
        ranks = _ranks(item.get("rank"), len(paths))
        return cls(paths, ranks, _votes(annotations, len(paths)), bool(annotations), too_many)


def _ranks(value: object, size: int) -> Real:
    """One number for each image, or NaNs."""
    found = [as_number(rank) for rank in as_list(value)]
    return np.array(found if len(found) == size else [None] * size, dtype=np.float64)


def _votes(annotations: list[Any], size: int) -> tuple[Real, Real]:
    given = [_ranks(entry.get("rank") if isinstance(entry, dict) else None, size) for entry in annotations]
    first, second = np.triu_indices(size, 1)
    ranks = np.stack(given) if given else np.empty((0, size))
    counts = ((ranks[:, first] < ranks[:, second]).sum(0), (ranks[:, first] > ranks[:, second]).sum(0))
    missing = np.isnan(ranks).any()
    return np.where(missing, np.nan, counts[0]), np.where(missing, np.nan, counts[1])


def _images(paths: list[pa.Array], split: str, base: str | None) -> dict[str, pa.Array]:
    """Uids and files. The two splits use the same file names, so the uid names the split; `base` is the folder
    of the annotations, None if the user named the images' own folder."""
    columns = {}
    for side, path in enumerate(paths):
        named = pc.if_else(pc.starts_with(path, f"{split}/"), path, beneath(split, path))
        columns[f"image_{side}_uid"] = named
        columns[f"file_{side}"] = path if base is None else beneath(base, named)
    return columns


def _any_bad(paths: list[pa.Array]) -> pa.Array:
    return pc.or_kleene(is_bad_path(paths[0]), is_bad_path(paths[1]))


ADAPTER = Adapter("hpdv2", (".json",), mismatch, read)
