"""What was exported comes back by `pairsieve ingest`: pairs, labels and the bytes of images."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pickapic_factory import jpeg

from ranking.datasets import get_dataset
from ranking.images.reader import ImageReader
from ranking.ingest import ingest
from ranking.schema import PAIRS
from ranking.store.blobs import Store
from ranking.subsets.catalog import Subset, subset_pairs


@pytest.mark.parametrize("format", ["parquet", "hf", "jsonl"])
def test_pairs_labels_and_images_come_back(
    export: Any, shop: Any, subset: Subset, store: Store, tmp_path: Path, format: str
) -> None:
    export(format)
    report = ingest(store, tmp_path / format, "back")
    assert (report.pairs_added, report.skipped, report.sources_added) == (subset.rows, {}, 1)
    back = get_dataset(store, "back")
    original = get_dataset(shop[0], "pets")
    taken = {row["pair_id"]: row for row in subset_pairs(shop[0], subset).to_pylist()}
    same = ["prompt_id", "prompt", "image_0_uid", "image_1_uid", "rater", "model_0", "model_1", "created_at"]
    wanted = [
        {name: row[name] for name in same}
        | {"winner": 0 if taken[row["pair_id"]]["winner_uid"] == row["image_0_uid"] else 1}
        for row in pairs(shop[0], original.pairs_paths(shop[0]))
        if row["pair_id"] in taken
    ]
    found = [{name: row[name] for name in (*same, "winner")} for row in pairs(store, back.pairs_paths(store))]
    key = lambda row: (row["prompt"], row["image_0_uid"])  # noqa: E731
    assert sorted(found, key=key) == sorted(wanted, key=key)
    uids = {uid for row in found for uid in (row["image_0_uid"], row["image_1_uid"])}
    assert ImageReader(store, back).read(uids) == {uid: jpeg(uid) for uid in uids}


def pairs(store: Store, paths: list[Path]) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    tables = [pq.read_table(path, partitioning=None) for path in paths]
    return pa.concat_tables(tables).cast(PAIRS).to_pylist()


def test_two_judgements_that_are_told_apart_by_nothing_but_their_ids_both_come_back(
    store: Store, tmp_path: Path
) -> None:
    """Pick-a-Pic tells them apart by a ranking id, which datasets do not keep: the pair id stands in."""
    import pyarrow.parquet as pq
    from pickapic_factory import Row, table, with_raw

    from ranking.subsets.export.tables import pickapic_schema

    twice = table([with_raw(Row("a cat", "x", "y"), ranking_id=None, created_at=None)] * 2)
    for name, values in (("pair_id", ["a" * 16, "b" * 16]), ("rater", ["ann", "ann"])):
        twice = twice.append_column(name, pa.array(values))
    (tmp_path / "in").mkdir()
    pq.write_table(
        twice.set_column(twice.schema.get_field_index("user_id"), "user_id", pa.nulls(2, pa.int64())),
        tmp_path / "in/a.parquet",
    )
    assert {"pair_id", "rater"} <= set(pickapic_schema(images=True).names)
    assert ingest(store, tmp_path / "in", "back").pairs_added == 2
    found = pairs(store, get_dataset(store, "back").pairs_paths(store))
    assert [row["rater"] for row in found] == ["ann", "ann"]
