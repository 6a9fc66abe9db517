"""Parquet exports: what public trainers of Diffusion-DPO ask of a dataset, they find."""

import io
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pickapic_factory import SCHEMA, jpeg
from PIL import Image

from ranking.subsets.catalog import Subset, subset_pairs


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """`datasets.load_dataset` without a network and with a cache of its own."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import datasets

    datasets.disable_progress_bars()
    return lambda folder, **options: datasets.load_dataset(str(folder), cache_dir=str(tmp_path / "cache"), **options)


def test_the_columns_of_pick_a_pic_come_first_with_their_types(export: Any, tmp_path: Path) -> None:
    export("parquet")
    found = pq.read_schema(tmp_path / "parquet/data/train-00000.parquet")
    assert [(field.name, field.type) for field in found][: len(SCHEMA)] == [(f.name, f.type) for f in SCHEMA]


def test_a_script_that_reads_pick_a_pic_reads_an_export(
    load: Any, export: Any, shop: Any, subset: Subset, tmp_path: Path
) -> None:
    """The accesses of the public scripts, in our words: labels counted before anything, both images opened from bytes,
    the pair turned round where label_0 is 0, captions as strings, a shuffled choice of rows."""
    export("parquet", tmp_path / "pickapic-best")
    dataset = load(tmp_path / "pickapic-best")["train"]
    decided = [place for place, label in enumerate(dataset["label_0"]) if label in (0, 1)]
    assert len(decided) == subset.rows, "no pair is lost to a script that drops undecided ones"
    assert all("drawer" in model for side in (0, 1) for model in dataset[f"model_{side}"])

    def prepared(rows: dict[str, list[Any]]) -> dict[str, list[Any]]:
        sides = [
            [Image.open(io.BytesIO(data)).convert("RGB").getpixel((4, 4)) for data in rows[name]]
            for name in ("jpg_0", "jpg_1")
        ]
        pairs = [
            pair[::-1] if label == 0 else pair
            for pair, label in zip(zip(*sides, strict=True), rows["label_0"], strict=True)
        ]
        assert all(isinstance(caption, str) for caption in rows["caption"])
        return {"winner": [winner for winner, _ in pairs], "loser": [loser for _, loser in pairs]}

    wanted = {(pixel(row["winner_uid"]), pixel(row["loser_uid"])) for row in subset_pairs(shop[0], subset).to_pylist()}
    seen = dataset.shuffle(seed=1).select(range(subset.rows)).with_transform(prepared)
    assert {(row["winner"], row["loser"]) for row in seen} == wanted


def pixel(uid: str) -> tuple[int, ...]:
    """A pixel of the little JPEG of that name."""
    found = Image.open(io.BytesIO(jpeg(uid))).convert("RGB").getpixel((4, 4))
    assert isinstance(found, tuple)
    return found


def test_the_winner_is_the_subsets_and_the_sides_are_the_datasets(
    export: Any, shop: Any, subset: Subset, tmp_path: Path
) -> None:
    export("parquet")
    rows = pq.read_table(tmp_path / "parquet/data").to_pylist()
    turned = 0
    for row, taken in zip(rows, subset_pairs(shop[0], subset).to_pylist(), strict=True):
        assert (row["pair_id"], row["rank"]) == (taken["pair_id"], taken["rank"])
        first = taken["winner_uid"] == row["image_0_uid"]
        assert (row["label_0"], row["label_1"]) == ((1.0, 0.0) if first else (0.0, 1.0))
        assert row["best_image_uid"] == row["image_0_uid" if first else "image_1_uid"]
        assert int(row["image_1_uid"][4:]) - int(row["image_0_uid"][4:]) == 3, "as they were ingested"
        assert row["label_source"] == "relabel:sharp"
        turned += row["human_label_0"] == 1 - row["label_0"]
        assert row["jpg_0"] == jpeg(row["image_0_uid"]), "not a byte is changed"
    assert turned, "at least one label is not the human one, or this test shows nothing"


def test_users_are_numbers_where_they_are_numbers_and_prompts_are_counted(export: Any, tmp_path: Path) -> None:
    export("parquet")
    rows = pq.read_table(tmp_path / "parquet/data").to_pylist()
    assert {(row["user_id"], row["rater"]) for row in rows} == {(n, str(n)) for n in range(5)}
    captions = [row["caption"] for row in rows]
    assert [row["num_example_per_prompt"] for row in rows] == [captions.count(caption) for caption in captions]


def test_images_load_as_pictures_from_a_hugging_face_folder(load: Any, export: Any, tmp_path: Path) -> None:
    export("hf")
    dataset = load(tmp_path / "hf", split="train")
    row = dataset[0]
    assert row["rank"] == 1 and row["image_0"].convert("RGB").getpixel((4, 4)) == pixel(row["image_0_uid"])
    assert {name: str(dataset.features[name].dtype) for name in ("prompt", "label_0", "created_at")} == {
        "prompt": "string",
        "label_0": "float64",
        "created_at": "timestamp[us]",
    }


def test_without_images_their_columns_are_not_there(export: Any, tmp_path: Path) -> None:
    report = export("parquet", images=False)
    names = pq.read_schema(tmp_path / "parquet/data/train-00000.parquet").names
    assert report.pairs and not {"jpg_0", "jpg_1"} & set(names)
    export("hf", images=False)
    names = pq.read_schema(tmp_path / "hf/data/train-00000.parquet").names
    assert not {"image_0", "image_1"} & set(names)


def test_row_groups_and_shards_follow_from_the_rows_alone() -> None:
    """Whatever the blocks were that the rows came in, groups of at most 128 rows and shards by size: here a row takes
    256 + 6 + 2·9,869 = 20,000 bytes, so 50 rows make one MB."""
    from ranking.subsets.export.cut import cut
    from ranking.subsets.export.pictures import Block, Picture
    from ranking.subsets.export.rows import METADATA

    picture = Picture(b"x" * 9_869, "jpg")

    def blocks(sizes: list[int]) -> Any:
        at = 0
        for size in sizes:
            columns = [pa.nulls(size, field.type) for field in METADATA]
            columns[METADATA.get_field_index("prompt")] = pa.array(["prompt"] * size)
            rows = pa.RecordBatch.from_arrays(columns, schema=METADATA)
            urls = pa.nulls(size, pa.string())
            yield Block(rows, (urls, urls), list(range(at, at + size)), ([picture] * size, [picture] * size), [])
            at += size

    def shape(sizes: list[int], megabytes: int) -> list[tuple[int, int, bool]]:
        groups = cut(blocks(sizes), shard_bytes=megabytes * 1_000_000, start=0, end=sum(sizes))
        return [(group.rows.num_rows, group.stop, group.last) for group in groups]

    assert shape([120], 1) == [(50, 50, True), (50, 100, True), (20, 120, True)]
    assert shape([300], 5) == [(128, 128, False), (122, 250, True), (50, 300, True)]
    pieces = random.Random(0).choices(range(1, 9), k=60)
    assert shape(pieces, 5) == shape([sum(pieces)], 5)


def test_soft_labels_are_0_and_1_with_their_probability_and_weight_beside(
    export: Any, shop: Any, cut: Any, tmp_path: Path
) -> None:
    soft = cut(shop, name="soft", labels={"soft": "sharp.0"}, weights={"field": "sharp.1"})
    export("parquet", of=soft)
    rows = pq.read_table(tmp_path / "parquet/data").to_pylist()
    taken = subset_pairs(shop[0], soft).to_pylist()
    assert [(row["preference"], row["weight"]) for row in rows] == [(t["preference"], t["weight"]) for t in taken]
    assert {row["label_0"] for row in rows} == {0.0, 1.0} and all(0.5 <= row["preference"] < 1 for row in rows)
