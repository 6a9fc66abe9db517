"""The forms of export: what each is called, what its files hold, and what writes them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

import pyarrow as pa

from ranking.subsets.export.cut import Group
from ranking.subsets.export.folder import File, Folder
from ranking.subsets.export.records import JsonLines, TarShards
from ranking.subsets.export.rows import METADATA
from ranking.subsets.export.tables import (
    ParquetShards,
    features_schema,
    features_table,
    pickapic_schema,
    pickapic_table,
)

_PATHS: Final = (pa.field("image_0", pa.string()), pa.field("image_1", pa.string()))


class Writer(Protocol):
    """Writes groups into shards; `recall` says how many that were finished earlier can be built upon."""

    def recall(self) -> int: ...
    def write(self, group: Group) -> None: ...
    def close(self) -> tuple[File, ...]: ...
    def finish(self) -> tuple[File, ...]: ...


@dataclass(frozen=True)
class Format:
    """One form of export. `data_files` is what the `datasets` library reads of it; `schema` gives the columns of its
    records and `pictures` those that hold images."""

    name: str
    layout: str
    data_files: str | None
    writer: Callable[[Folder, bool], Writer] | None
    schema: Callable[[bool], pa.Schema]
    pictures: tuple[str, ...] = ()
    images: bool = True


FORMATS: Final = {
    each.name: each
    for each in (
        Format(
            "parquet",
            "`data/train-*.parquet` has the columns of Pick-a-Pic (`jpg_0`, `jpg_1`: the images' bytes; `label_0` and "
            "`label_1`: 1 for the winner by the subset's labels, 0 for the other; `caption`) and then `pair_id`, "
            "`rank`, `metric`, `preference`, `weight`, `label_source`, `human_label_0`, `rater`, `votes_0` and "
            "`votes_1`. The best pair comes first.",
            "data/train-*.parquet",
            lambda folder, images: ParquetShards(folder, pickapic_schema(images=images), pickapic_table),
            lambda images: pickapic_schema(images=images),
            ("jpg_0", "jpg_1"),
        ),
        Format(
            "hf",
            "`data/train-*.parquet` has a row a pair, the best first; `image_0` and `image_1` load as images, "
            "`label_0` is 1 where image 0 is the winner by the subset's labels and 0 where image 1 is.",
            "data/train-*.parquet",
            lambda folder, images: ParquetShards(folder, features_schema(images=images), features_table),
            lambda images: features_schema(images=images),
            ("image_0", "image_1"),
        ),
        Format(
            "jsonl",
            "`pairs.jsonl` has an object a pair, the best first; `image_0` and `image_1` are paths of images in "
            "`images/`, which are named by their SHA-256 and stored once. `sha256sum -c images.sha256` checks them.",
            "pairs.jsonl",
            lambda folder, _: JsonLines(folder),
            lambda images: pa.schema([*METADATA, *(_PATHS if images else ())]),
        ),
        Format(
            "webdataset",
            "`data/train-*.tar` are WebDataset shards, the best pair first: of each pair `<pair_id>.0.<ending>`, "
            "`<pair_id>.1.<ending>` and `<pair_id>.json`.",
            "data/train-*.tar",
            lambda folder, _: TarShards(folder),
            lambda _: METADATA,
        ),
        Format(
            "uids",
            "`pair_ids.txt` has the ids of the pairs, the best first; `pairs.csv` what is known of them, with the uids "
            "of their images.",
            "pairs.csv",
            None,
            lambda _: METADATA,
            images=False,
        ),
    )
}
"""Every form, by the word that names it."""
