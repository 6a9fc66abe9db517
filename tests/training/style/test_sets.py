"""Style-preference sets from a dataset and from a user's folders, as `ingest` reads them."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from ranking.datasets import Dataset, get_dataset
from ranking.errors import PairsieveError, UsageError
from ranking.ingest import ingest
from ranking.store.blobs import Store
from training.style.folders import folder_couples
from training.style.sets import Couple, dataset_couples, read_references, read_style_set, write_style_set
from training.style.transforms import style

WORDS = {"style": "sketch@1", "text": "a pencil sketch", "source": "test"}


def couples(count: int = 40) -> list[Couple]:
    rng = np.random.default_rng(0)
    pictures = [Image.fromarray(rng.integers(0, 255, (24, 24, 3), np.uint8)) for _ in range(count)]
    paint = style("sketch")
    return [
        Couple(f"prompt {i // 2}", Image.fromarray(paint(np.asarray(image))), image) for i, image in enumerate(pictures)
    ]


def test_the_styled_picture_is_preferred_and_neither_side_nor_encoding_tells_it(store: Store, tmp_path: Path) -> None:
    made = write_style_set(tmp_path / "set", couples(), **WORDS, held_out=0.3)
    rows = pq.read_table(tmp_path / "set" / "data").to_pylist()
    assert made.pairs == len(rows) and made.pairs + made.references == 40
    first = [row["label_0"] for row in rows]
    assert 0.2 < np.mean(first) < 0.8
    for row in rows:
        won = row["jpg_0"] if row["label_0"] else row["jpg_1"]
        assert (row["model_0"] if row["label_0"] else row["model_1"]) == "sketch@1"
        assert row["jpg_0"][:2] == row["jpg_1"][:2] == b"\xff\xd8" and len(won) > 100
    ingest(store, tmp_path / "set" / "data", "styled")
    found = get_dataset(store, "styled")
    assert (found.n_pairs, found.format) == (made.pairs, "pickapic")


def test_prompts_are_either_trained_on_or_measured_by(tmp_path: Path) -> None:
    made = write_style_set(tmp_path / "set", couples(), **WORDS, held_out=0.3)
    trained = set(pq.read_table(tmp_path / "set" / "data")["caption"].to_pylist())
    prompts, styled, originals = read_references(tmp_path / "set")
    assert trained and prompts and not trained & set(prompts)
    assert (tmp_path / "set" / "prompts.txt").read_text().splitlines() == list(dict.fromkeys(prompts))
    assert len(styled) == len(originals) == made.references
    assert read_style_set(tmp_path / "set") == made


def test_a_set_that_cannot_be_made_leaves_no_folder_and_a_changed_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PairsieveError, match="needs two"):
        write_style_set(tmp_path / "set", couples(2), **WORDS, held_out=0.3)
    assert not (tmp_path / "set").exists()
    write_style_set(tmp_path / "set", couples(), **WORDS, held_out=0.3)
    with pytest.raises(UsageError, match="not an empty folder"):
        write_style_set(tmp_path / "set", couples(), **WORDS, held_out=0.3)
    (tmp_path / "set" / "reference.parquet").write_bytes(b"other")
    with pytest.raises(UsageError, match="not those"):
        read_style_set(tmp_path / "set")
    with pytest.raises(UsageError) as caught:
        read_style_set(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path} is no style set (it has no style.json)")


def test_a_datasets_winners_are_styled_once_each(store: Store, dataset: Dataset) -> None:
    found = list(dataset_couples(store, "pets", style("winter")))
    won = pq.read_table(dataset.pairs_paths(store)[0]).num_rows + pq.read_table(dataset.pairs_paths(store)[-1]).num_rows
    assert 0 < len(found) <= won
    assert all(np.array_equal(np.asarray(each.styled), style("winter")(np.asarray(each.original))) for each in found)
    assert len(list(dataset_couples(store, "pets", style("winter"), pictures=3))) == 3


@pytest.mark.parametrize("kind", ["sidecar", "csv", "jsonl"])
def test_captions_of_a_users_pictures_come_from_beside_them(tmp_path: Path, kind: str) -> None:
    for folder, ending in (("styled", "png"), ("originals", "jpg")):
        (tmp_path / folder).mkdir()
        for name in "ab":
            Image.new("RGB", (8, 8), "red" if folder == "styled" else "blue").save(
                tmp_path / folder / f"{name}.{ending}"
            )
    styled = tmp_path / "styled"
    if kind == "sidecar":
        for name in "ab":
            (styled / f"{name}.txt").write_text(f"picture {name}\n")
    elif kind == "csv":
        (styled / "captions.csv").write_text('file,caption\na.png,picture a\nb.png,"picture b"\n')
    else:
        rows = [{"file_name": f"{name}.png", "text": f"picture {name}"} for name in "ab"]
        (styled / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = list(folder_couples(styled, tmp_path / "originals"))
    assert [each.prompt for each in found] == ["picture a", "picture b"]
    assert found[0].styled.getpixel((0, 0)) == (255, 0, 0) and found[0].original.getpixel((0, 0))[2] > 240


def test_a_picture_without_caption_or_original_is_named(tmp_path: Path) -> None:
    for folder in ("styled", "originals"):
        (tmp_path / folder).mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "styled" / "a.png")
    with pytest.raises(UsageError, match="holds no picture"):
        list(folder_couples(tmp_path / "styled", tmp_path / "originals"))
    Image.new("RGB", (8, 8)).save(tmp_path / "originals" / "b.png")
    with pytest.raises(UsageError, match=r"a\.png has no caption"):
        list(folder_couples(tmp_path / "styled", tmp_path / "originals"))
    (tmp_path / "styled" / "a.txt").write_text("words")
    with pytest.raises(UsageError, match="no original"):
        list(folder_couples(tmp_path / "styled", tmp_path / "originals"))
