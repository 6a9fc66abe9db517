"""`--format auto`: every published form is recognised by its adapter, and by no other."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from adapter_files import CELL, picture, source, write_json, write_parquet
from pickapic_factory import Row, rows, table
from tfrecord_factory import example, write_tfrecord

from ranking.errors import SourceError
from ranking.ingest.adapters import ADAPTERS

TEXTS = pa.list_(pa.string())


def parquet(path: Path, **columns: Any) -> Path:
    return write_parquet(path, pa.table({name: pa.array([value[0]], value[1]) for name, value in columns.items()}))


STRING, NUMBER = pa.string(), pa.float32()
IMAGE = ({"bytes": picture(1), "path": "1.jpg"}, CELL)
OTHER = ({"bytes": picture(2), "path": "1.jpg"}, CELL)
RANKED = {
    "prompt_id": ("p1", STRING),
    "prompt": ("a cat", STRING),
    "classification": ("People", STRING),
    "image_amount_in_total": (2, pa.int8()),
    "rank": (1, pa.int8()),
    "overall_rating": (4, pa.int8()),
    "image_text_alignment_rating": (4, pa.int8()),
    "fidelity_rating": (4, pa.int8()),
}
PAIR = {"prompt": ("a cat", STRING), "image1": IMAGE, "image2": OTHER, "model1": ("a", STRING), "model2": ("b", STRING)}
TWO = {"prompt": "a cat", "path1": "images/1.jpg", "path2": "images/2.jpg"}


def _images(**values: str) -> tuple[dict[str, str], pa.DataType]:
    return values, pa.struct([(name, STRING) for name in values])


FORMS: dict[str, Any] = {
    "pickapic v2": lambda path: write_parquet(path / "a.parquet", table(rows(2))),
    "pickapic without images": lambda path: write_parquet(
        path / "a.parquet", table([Row("a cat", "x", "y")]).drop_columns(["jpg_0", "jpg_1"])
    ),
    "hpdv2 train": lambda path: write_json(
        path / "train.json", [{"prompt": "a cat", "file_path": ["1.jpg", "2.jpg"], "human_preference": [1, 0]}]
    ),
    "hpdv2 test": lambda path: write_json(
        path / "test.json",
        [{"prompt": "a cat", "image_path": ["1.jpg", "2.jpg"], "rank": [1, 2], "raw_annotations": []}],
    ),
    "hpdv3": lambda path: write_json(
        path / "all.json", [{**TWO, "choice_dist": None, "confidence": None, "model1": "a", "model2": "b"}]
    ),
    "hpdv3 plus plus": lambda path: write_json(path / "train_aes.json", [TWO]),
    "imagerewarddb json": lambda path: write_json(
        path / "train_1.json",
        [{**{name: value for name, (value, _) in RANKED.items()}, "image_path": "images/train/train_1/1.webp"}],
    ),
    "imagerewarddb metadata": lambda path: parquet(
        path / "a.parquet", **RANKED, image_path=("images/train/train_1/1.webp", STRING)
    ),
    "imagerewarddb flat": lambda path: parquet(path / "a.parquet", **RANKED, image=IMAGE),
    "imagerewarddb group": lambda path: parquet(
        path / "a.parquet",
        **{
            name: value if value[1] == STRING else ([value[0]] * 2, pa.list_(value[1]))
            for name, value in RANKED.items()
        },
        image=([IMAGE[0], OTHER[0]], pa.list_(CELL)),
    ),
    "imagerewarddb pair": lambda path: parquet(
        path / "a.parquet",
        prompt_id=("p1", STRING),
        prompt=("a cat", STRING),
        classification=("People", STRING),
        img_better=IMAGE,
        img_worse=OTHER,
    ),
    "openprefs results": lambda path: parquet(
        path / "a.parquet",
        id=("1-quality", STRING),
        images=_images(image_1="https://example.org/1.jpg", image_2="https://example.org/2.jpg", prompt="a cat"),
        model_1=("dev", STRING),
        model_2=("sd", STRING),
        **{"preference.responses": (["image_1"], TEXTS), "preference.responses.users": (["u"], TEXTS)},
    ),
    "openprefs binarised": lambda path: parquet(
        path / "a.parquet",
        prompt=("a cat", STRING),
        chosen=IMAGE,
        rejected=OTHER,
        chosen_model=("dev", STRING),
        rejected_model=("sd", STRING),
    ),
    "rapidata old": lambda path: parquet(
        path / "a.parquet", **PAIR, votes_image1=(3, pa.int64()), votes_image2=(4, pa.int64())
    ),
    "rapidata new": lambda path: parquet(
        path / "a.parquet",
        **PAIR,
        weighted_results_image1_preference=(0.25, NUMBER),
        weighted_results_image2_preference=(0.75, NUMBER),
    ),
    "richhf": lambda path: write_tfrecord(
        path / "dev.tfrecord",
        [
            example(
                {
                    "filename": b"train/1.png",
                    "aesthetics_score": 0.5,
                    "artifact_score": 0.5,
                    "misalignment_score": 0.5,
                    "overall_score": 0.5,
                }
            )
        ],
    ),
}
PARTICULAR = [found for found in ADAPTERS if found.name != "table"]


@pytest.mark.parametrize("form", FORMS)
def test_a_form_is_its_adapter_s_and_nobody_else_s(tmp_path: Path, form: str) -> None:
    file = source(FORMS[form](tmp_path))
    assert [found.name for found in PARTICULAR if found.mismatch(file) is None] == [form.split()[0]]


@pytest.mark.parametrize("form", FORMS)
def test_the_first_adapter_that_fits_is_the_particular_one(tmp_path: Path, form: str) -> None:
    file = source(FORMS[form](tmp_path))
    first = next(found for found in ADAPTERS if found.mismatch(file) is None)
    assert first.name == form.split()[0]
    assert file.name.endswith(first.suffixes)


def test_every_adapter_has_a_form_here() -> None:
    assert {form.split()[0] for form in FORMS} == {found.name for found in PARTICULAR}


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"[1]", b"a,b\n1,2\n", b"\xff\xfe\x00", b"null", b"[[[["])
def test_files_of_no_form_are_nobody_s_and_no_adapter_stumbles(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(content)
    assert [found.name for found in PARTICULAR if found.mismatch(source(path)) is None] == []


def test_damaged_parquet_is_an_error_and_not_a_mismatch(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1 and no more")
    for found in PARTICULAR:
        if ".parquet" in found.suffixes:
            with pytest.raises(SourceError, match=r"a\.parquet"):
                found.mismatch(source(path))


def test_the_documentation_names_every_adapter() -> None:
    page = (Path(__file__).parents[4] / "docs" / "datasets.md").read_text(encoding="utf-8")
    assert [found.name for found in ADAPTERS if f"--format {found.name}`" not in page] == []
