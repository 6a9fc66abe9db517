"""What the adapters point at is what the reader of images finds: in cells, in another row's cell, and as files."""

from pathlib import Path

import pyarrow as pa
from adapter_files import CELL, picture, uid_of, write_json, write_parquet

from ranking.datasets import get_dataset
from ranking.images import ImageReader
from ranking.ingest import ingest
from ranking.ingest.adapters import Options
from ranking.store.blobs import Store


def images_of(store: Store, name: str, uids: list[str]) -> list[object]:
    found = ImageReader(store, get_dataset(store, name)).read(uids)
    return [found[uid] for uid in uids]


def test_images_in_cells_beside_their_judgement(store: Store, tmp_path: Path) -> None:
    cells = [[{"bytes": picture(2 * n + side), "path": "1.jpg"} for n in range(5)] for side in range(2)]
    table = pa.table(
        {
            "prompt": ["a cat"] * 5,
            "image1": pa.array(cells[0], CELL),
            "image2": pa.array(cells[1], CELL),
            "votes_image1": [1] * 5,
            "votes_image2": [2] * 5,
        }
    )
    ingest(store, write_parquet(tmp_path / "a.parquet", table), "cells")
    assert images_of(store, "cells", [uid_of(picture(n)) for n in range(10)]) == [picture(n) for n in range(10)]


def test_images_in_cells_of_other_rows(store: Store, tmp_path: Path) -> None:
    names = [f"{n:08x}-0000-4000-8000-{n:012x}" for n in range(5)]
    cells = [{"bytes": picture(n), "path": f"{name}.webp"} for n, name in enumerate(names)]
    ratings = {name: [4] * 5 for name in ("overall_rating", "image_text_alignment_rating", "fidelity_rating")}
    table = pa.table(
        {
            "prompt_id": ["p"] * 5,
            "prompt": ["a cat"] * 5,
            "rank": [1, 2, 3, 4, 5],
            "image": pa.array(cells, CELL),
            **ratings,
        }
    )
    ingest(store, write_parquet(tmp_path / "a.parquet", table), "rows")
    assert images_of(store, "rows", names) == [picture(n) for n in range(5)]


def test_images_that_are_files_beside_the_annotations_or_in_a_folder_of_their_own(store: Store, tmp_path: Path) -> None:
    row = {"prompt": "a cat", "path1": "images/1.png", "path2": "images/2.png"}
    for folder in ("set", "elsewhere"):
        (tmp_path / folder / "images").mkdir(parents=True)
        for number in (1, 2):
            (tmp_path / folder / "images" / f"{number}.png").write_bytes(picture(number + 10 * len(folder)))
    path = write_json(tmp_path / "set" / "train.json", [row])
    ingest(store, tmp_path / "set", "beside")
    ingest(store, path, "apart", options=Options(images=str(tmp_path / "elsewhere")))
    names = ["images/1.png", "images/2.png"]
    assert images_of(store, "beside", names) == [picture(31), picture(32)]
    assert images_of(store, "apart", names) == [picture(91), picture(92)]
