"""Images in cells: one name for the same bytes, a pointer that leads to them, and no path that leads elsewhere."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from adapter_files import CELL, source, uid_of, write_parquet

from ranking.ingest.adapters import parquet
from ranking.ingest.adapters.base import Options
from ranking.ingest.adapters.pictures import Pictures, pictures


def found(path: Path, values: pa.Array, *, root: Path | None = None, images: str | None = None) -> Pictures:
    file = source(write_parquet(path, pa.table({"img": values})), root=root)
    (batch,) = parquet.batches(file, ["img"])
    return pictures(batch, "img", Options(images=images))


def places(pictures: Pictures) -> list[tuple[Any, ...]]:
    return list(
        zip(*(pictures.places[name].to_pylist() for name in ("row_group", "row", "column", "file")), strict=True)
    )


def test_bytes_are_called_by_their_hash_whatever_path_stands_beside_them(tmp_path: Path) -> None:
    cells = [{"bytes": b"one", "path": "1.jpg"}, {"bytes": b"two", "path": "1.jpg"}, {"bytes": b"one", "path": None}]
    result = found(tmp_path / "a.parquet", pa.array(cells, CELL))
    assert result.uids.to_pylist() == [uid_of(b"one"), uid_of(b"two"), uid_of(b"one")]
    assert places(result) == [(0, 0, "img.bytes", None), (0, 1, "img.bytes", None), (1, 2, "img.bytes", None)]
    assert result.bad_path.to_pylist() == [False, False, False]


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()])
def test_a_column_of_plain_bytes_is_pointed_at_itself(tmp_path: Path, kind: pa.DataType) -> None:
    result = found(tmp_path / "a.parquet", pa.array([b"one", None, b""], kind))
    assert result.uids.to_pylist() == [uid_of(b"one"), None, None]
    assert places(result) == [(0, 0, "img", None), (None, None, None, None), (None, None, None, None)]


@pytest.mark.parametrize("struct", [False, True])
def test_without_bytes_the_path_or_address_is_the_name_and_the_place(tmp_path: Path, struct: bool) -> None:
    paths = ["a/1.jpg", "https://example.org/1.jpg", "../1.jpg", "http://example.org/1.jpg", None]
    cells = pa.array([{"bytes": None, "path": path} for path in paths], CELL) if struct else pa.array(paths)
    result = found(tmp_path / "set" / "a.parquet", cells, root=tmp_path)
    assert result.uids.to_pylist() == paths
    assert [place[3] for place in places(result)][:2] == ["set/a/1.jpg", "https://example.org/1.jpg"]
    assert [place[:3] for place in places(result)] == [(None, None, None)] * 5
    assert result.bad_path.to_pylist() == [False, False, True, True, False]


def test_paths_start_in_the_folder_that_the_user_named(tmp_path: Path) -> None:
    result = found(tmp_path / "set" / "a.parquet", pa.array(["a/1.jpg"]), root=tmp_path, images="/elsewhere")
    assert places(result)[0][3] == "a/1.jpg"
