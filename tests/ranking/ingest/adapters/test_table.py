"""Any table: the forms in which labels and images come, the mapping of columns, and what is missing said by name."""

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from adapter_files import CELL, adapter, picture, source, write_parquet

from ranking.errors import SourceError
from ranking.ingest.adapters import Options

PLAIN = {"prompt": ["a cat"], "image_0": ["x"], "image_1": ["y"], "label": ["0"]}


def read(path: Path, *, root: Path | None = None, images: str | None = None, **columns: str) -> list[dict[str, Any]]:
    found = adapter("table").read(source(path, root=root), Options(images=images, columns=columns))
    return [row for batch in found for row in batch.to_pylist()]


def written(folder: Path, columns: dict[str, list[Any]]) -> dict[str, Path]:
    """The same table as Parquet, CSV, tab-separated text, JSON lines and a JSON array."""
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    paths = {kind: folder / f"a.{kind}" for kind in ("parquet", "csv", "tsv", "jsonl", "json")}
    pq.write_table(pa.table(columns), paths["parquet"])
    for kind, delimiter in (("csv", ","), ("tsv", "\t")):
        lines = [list(columns), *([row[name] for name in columns] for row in rows)]
        quoted = [
            delimiter.join("" if cell is None else '"' + str(cell).replace('"', '""') + '"' for cell in line)
            for line in lines
        ]
        paths[kind].write_text("\n".join(quoted) + "\n", encoding="utf-8")
    paths["jsonl"].write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    paths["json"].write_text(json.dumps(rows), encoding="utf-8")
    return paths


def test_a_table_is_the_same_in_every_form_of_file(tmp_path: Path) -> None:
    paths = written(
        tmp_path,
        {
            "prompt": ['a "cat",\nwet', "ein Käfer", "x"],
            "image_0": ["a/1.png", "https://images.invalid/b.png", "uid-1"],
            "image_1": ["a/2.png", "c.png", "uid-2"],
            "label_0": [1.0, 0.5, 0.0],
            "label_1": [0.0, 0.5, 1.0],
            "votes_0": [3.0, None, 0.0],
            "votes_1": [1.0, None, 2.0],
            "rater": ["ann", None, "0017"],
            "model_0": ["m", "m", None],
            "created_at": ["2024-01-02T03:04:05.25", None, "2024-01-02 03:04:05"],
        },
    )
    first, *others = [read(path, root=tmp_path) for path in paths.values()]
    assert [row["reason"] for row in first] == [None] * 3
    assert [row["prompt"] for row in first] == ['a "cat",\nwet', "ein Käfer", "x"]
    assert [row["file_0"] for row in first] == ["a/1.png", "https://images.invalid/b.png", None]
    assert [row["image_0_uid"] for row in first] == ["a/1.png", "https://images.invalid/b.png", "uid-1"]
    assert [(row["label_0"], row["votes_0"], row["rater"]) for row in first] == [
        (1.0, 3.0, "ann"),
        (0.5, None, None),
        (0.0, 0.0, "0017"),
    ]
    assert first[0]["created_at"].isoformat() == "2024-01-02T03:04:05.250000"
    assert [row["row"] for row in first] == [0, 1, 2]
    for other in others:
        assert other == first


@pytest.mark.parametrize(
    ("words", "labels"),
    [
        (["0", "image_0", "LEFT", " first ", "a", "0.0"], (1.0, 0.0)),
        (["1", "image_1", "Right", "second", "B", "1.0"], (0.0, 1.0)),
        (["tie", "Draw", "equal", "same", "0.5"], (0.5, 0.5)),
    ],
)
def test_a_label_names_the_winner_by_word_or_number(
    tmp_path: Path, words: list[str], labels: tuple[float, float]
) -> None:
    n = len(words)
    full = {"prompt": ["a cat"] * n, "image_0": ["x"] * n, "image_1": ["y"] * n, "label": words}
    for path in written(tmp_path, full).values():
        assert [(row["label_0"], row["label_1"], row["reason"]) for row in read(path)] == [(*labels, None)] * n


def test_a_label_may_be_a_number_and_what_is_none_says_so(tmp_path: Path) -> None:
    full = PLAIN | {"label": pa.array([0, 1, 7, None])}
    table = pa.table({name: values if name == "label" else values * 4 for name, values in full.items()})
    found = read(write_parquet(tmp_path / "a.parquet", table))
    assert [(row["label_0"], row["reason"]) for row in found[:2]] == [(1.0, None), (0.0, None)]
    assert [row["reason"] for row in found[2:]] == ["bad_label", "no_label"]


def test_votes_alone_decide(tmp_path: Path) -> None:
    full = {
        "prompt": ["a cat"] * 5,
        "image_0": ["x"] * 5,
        "image_1": ["y"] * 5,
        "votes_0": [3, 1, 2, 0, -1],
        "votes_1": [1, 3, 2, 0, 4],
    }
    found = read(written(tmp_path, full)["csv"])
    assert [row["label_0"] for row in found[:3]] == [1.0, 0.0, 0.5]
    assert [row["reason"] for row in found] == [None, None, None, "no_label", "bad_votes"]


def test_what_was_chosen_is_image_0_and_wins(tmp_path: Path) -> None:
    full = {
        "prompt": ["a cat"],
        "chosen": ["good.png"],
        "rejected": ["bad.png"],
        "chosen_model": ["m"],
        "rejected_model": ["n"],
    }
    for path in written(tmp_path, full).values():
        (row,) = read(path)
        assert (row["image_0_uid"], row["label_0"], row["model_0"]) == ("good.png", 1.0, "m")
        assert (row["image_1_uid"], row["label_1"], row["model_1"]) == ("bad.png", 0.0, "n")


def test_columns_are_mapped_by_name(tmp_path: Path) -> None:
    full = {"text": ["a cat"], "left": ["x"], "right": ["y"], "who won": ["right"], "prompt": ["not this"]}
    for path in written(tmp_path, full).values():
        (row,) = read(path, prompt="text", image_0="left", image_1="right", label="who won")
        assert (row["prompt"], row["image_0_uid"], row["image_1_uid"], row["label_1"]) == ("a cat", "x", "y", 1.0)


def test_images_in_cells_are_pointed_at_and_called_by_their_bytes_unless_they_have_a_name(tmp_path: Path) -> None:
    first, second = picture(1), picture(2)
    full = {
        "prompt": ["a cat", "a dog"],
        "image_0": pa.array([first, second], pa.binary()),
        "image_1": pa.array([{"bytes": second, "path": "s.png"}, {"bytes": first, "path": "f.png"}], CELL),
        "label": ["0", "1"],
    }
    path = write_parquet(tmp_path / "a.parquet", pa.table(full), row_group_size=1)
    hashes = [sha256(data).hexdigest()[:32] for data in (first, second)]
    unnamed = read(path)
    assert [(row["image_0_uid"], row["image_1_uid"]) for row in unnamed] == [tuple(hashes), tuple(reversed(hashes))]
    places = [
        tuple(row[f"{what}_{side}"] for side in (0, 1) for what in ("row_group", "row", "column", "file"))
        for row in unnamed
    ]
    assert places == [(i, i, "image_0", None, i, i, "image_1.bytes", None) for i in range(2)]
    table = pa.table(full | {"image_0_uid": ["p", "q"], "image_1_uid": ["r", "s"]})
    named = read(write_parquet(tmp_path / "b.parquet", table, row_group_size=1))
    assert [(row["image_0_uid"], row["image_1_uid"]) for row in named] == [("p", "r"), ("q", "s")]
    assert [tuple(row[f"{what}_1"] for what in ("row_group", "row", "column")) for row in named] == [
        (i, i, "image_1.bytes") for i in range(2)
    ]


@pytest.mark.parametrize(
    "path", ["../a.png", "/etc/a.png", "C:\\a.png", "c:a.png", "a\\b.png", "http://x/a.png", "a/../b.png", "file:///a"]
)
def test_a_path_that_leads_elsewhere_is_bad(tmp_path: Path, path: str) -> None:
    for file in written(tmp_path, PLAIN | {"image_1": [path]}).values():
        assert [row["reason"] for row in read(file)] == ["bad_path"]


def test_paths_start_at_the_file_or_at_the_folder_of_images(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    path = written(tmp_path / "sub", PLAIN | {"image_0": ["i/a.png"]})["csv"]
    (row,) = read(path, root=tmp_path)
    assert (row["file_0"], row["image_0_uid"]) == ("sub/i/a.png", "sub/i/a.png")
    (row,) = read(path, root=tmp_path, images="/pictures")
    assert row["file_0"] == "i/a.png"


@pytest.mark.parametrize(
    ("without", "saying"),
    [
        ("prompt", "no column for prompt"),
        ("image_1", "no column for image_1 or image_1_uid"),
        ("label", "no column for label, label_0 and label_1"),
    ],
)
def test_what_is_missing_is_named_with_what_is_there(tmp_path: Path, without: str, saying: str) -> None:
    kept = {name: values for name, values in PLAIN.items() if name != without} | {"other": ["1"]}
    for path in written(tmp_path, kept).values():
        reason = adapter("table").mismatch(source(path))
        assert reason is not None
        assert saying in reason
        assert ", ".join(kept) in reason
        with pytest.raises(SourceError, match=f"{saying}.*map its columns"):
            read(path)
    with pytest.raises(SourceError, match="no column nowhere, which --columns names for prompt; its columns are"):
        read(path, prompt="nowhere")


@pytest.mark.parametrize(
    ("column", "value", "saying"),
    [
        ("label_0", "much", "column label_0 .* does not read as double"),
        ("created_at", "soon", "column created_at .* does not read as timestamp"),
    ],
)
def test_a_column_that_does_not_read_is_named(tmp_path: Path, column: str, value: str, saying: str) -> None:
    full = PLAIN | {"label_0": ["1"], "label_1": ["0"], column: [value]}
    for path in written(tmp_path, full).values():
        with pytest.raises(SourceError, match=saying):
            read(path)


def test_times_with_a_zone_become_utc(tmp_path: Path) -> None:
    path = written(tmp_path, PLAIN | {"created_at": ["2024-01-02T03:04:05+02:00"]})["csv"]
    assert read(path)[0]["created_at"].isoformat() == "2024-01-02T01:04:05"
