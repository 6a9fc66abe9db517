"""Equal rows give equal bytes, and a slice of rows is read without the rest."""

from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ranking.store import parquet
from ranking.store.blobs import Store

SCHEMA = pa.schema([("n", pa.int64()), ("t", pa.string())])
SMALL = parquet.Layout(row_group=16)


def numbers(first: int, rows: int) -> pa.RecordBatch:
    values = range(first, first + rows)
    return pa.record_batch([pa.array(values, pa.int64()), pa.array([f"text {n % 7}" for n in values])], schema=SCHEMA)


@settings(max_examples=25)
@given(cuts=st.lists(st.integers(0, 40), max_size=4))
def test_the_size_of_the_batches_does_not_change_the_bytes(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("parquet")
    bounds = [0, *sorted(cuts), 40]
    pieces = [numbers(a, b - a) for a, b in pairwise(bounds)]
    assert parquet.write_parquet(folder / "whole", SCHEMA, [numbers(0, 40)], layout=SMALL) == 40
    assert parquet.write_parquet(folder / "pieces", SCHEMA, pieces, layout=SMALL) == 40
    assert (folder / "whole").read_bytes() == (folder / "pieces").read_bytes()
    assert pq.read_metadata(folder / "whole").num_row_groups == 3


@pytest.mark.parametrize(("start", "rows"), [(0, 40), (0, 1), (15, 2), (16, 16), (39, 1), (5, 30), (40, 0)])
def test_a_range_of_rows_is_read_exactly(tmp_path: Path, start: int, rows: int) -> None:
    parquet.write_parquet(tmp_path / "f", SCHEMA, [numbers(0, 40)], layout=SMALL)
    table = parquet.read_rows(tmp_path / "f", start=start, rows=rows)
    assert table["n"].to_pylist() == list(range(start, start + rows))


def test_no_rows_are_still_a_file_with_columns(tmp_path: Path) -> None:
    assert parquet.write_parquet(tmp_path / "f", SCHEMA, []) == 0
    assert pq.read_schema(tmp_path / "f").equals(SCHEMA)


def test_the_same_rows_are_stored_once(store: Store) -> None:
    first = parquet.put_parquet(store, "data/x", SCHEMA, [numbers(0, 3)])
    again = parquet.put_parquet(store, "data/x", SCHEMA, [numbers(0, 3)])
    assert first == again
    assert store.list("data") == [first.file]
    assert list(store.tmp().iterdir()) == []


def test_a_flipped_byte_in_a_page_is_noticed(tmp_path: Path) -> None:
    parquet.write_parquet(tmp_path / "f", SCHEMA, [numbers(0, 4000)])
    data = bytearray((tmp_path / "f").read_bytes())
    data[len(data) // 3] ^= 0xFF
    (tmp_path / "f").write_bytes(data)
    with pytest.raises((OSError, pa.ArrowException)):
        parquet.read_rows(tmp_path / "f", start=0, rows=4000)
