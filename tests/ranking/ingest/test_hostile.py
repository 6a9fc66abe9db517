"""Files made to do harm, and files that were harmed: one line, bounded memory, nothing published."""

import io
import json
import resource
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pickapic_factory import rows, table, write

from ranking.datasets import get_dataset, list_datasets
from ranking.errors import SourceError
from ranking.ingest import ingest
from ranking.ingest.children import Children
from ranking.ingest.sources import find_sources
from ranking.store.blobs import Store

COLUMNS = ("caption", "image_0_uid", "image_1_uid", "label_0", "label_1")


def refused(store: Store, path: Path, **options: str) -> str:
    with pytest.raises(SourceError) as caught:
        ingest(store, path, "pets", **options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    assert list_datasets(store) == []
    assert list(store.tmp().iterdir()) == []
    return str(caught.value)


def repeated(path: Path, count: int, prompt: str) -> Path:
    """A file of a few kilobytes: the same judgement over and over, in runs of a dictionary."""
    half = pa.DictionaryArray.from_arrays(pa.array([0] * 100_000, pa.int32()), pa.array([prompt]))
    full = {
        "caption": half,
        "image_0_uid": pa.array(["a"] * 100_000),
        "image_1_uid": pa.array(["b"] * 100_000),
        "label_0": pa.array([1.0] * 100_000),
        "label_1": pa.array([0.0] * 100_000),
    }
    part = pa.table(full)
    with pq.ParquetWriter(path, part.schema, compression="zstd", write_statistics=False) as writer:
        for _ in range(count // 100_000):
            writer.write_table(part, row_group_size=100_000)
    return path


def test_a_few_kilobytes_do_not_become_gigabytes(store: Store, tmp_path: Path) -> None:
    path = repeated(tmp_path / "bomb.parquet", 900_000, "x" * 8000)
    assert path.stat().st_size < 20_000  # and 7.2 GB of prompts
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.monotonic()
    assert "bytes of content in a file of" in refused(store, path)
    assert time.monotonic() - started < 60
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 500_000  # kilobytes: the parent held none of it


def test_more_rows_than_bytes_could_hold_are_refused_unread(store: Store, tmp_path: Path) -> None:
    path = repeated(tmp_path / "bomb.parquet", 5_000_000, "x")
    assert path.stat().st_size < 100_000
    assert "5,000,000 rows in" in refused(store, path)


def lying(path: Path, *, rows_said: int) -> Path:
    """A good file whose footer promises another number of rows: both places where it is written."""
    write(path, rows(3))
    data = path.read_bytes()
    start = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    # The footer's num_rows are zigzag varints behind field headers of type i64: 0x16 then 3 << 1.
    footer = data[start:-8].replace(b"\x16\x06", bytes([0x16, rows_said << 1]))
    path.write_bytes(data[:start] + footer + data[-8:])
    return path


@pytest.mark.parametrize("said", [1, 2, 4, 60])
def test_a_footer_that_lies_about_rows_is_refused_or_not_believed(store: Store, tmp_path: Path, said: int) -> None:
    path = lying(tmp_path / "a.parquet", rows_said=said)
    try:
        report = ingest(store, path, "pets")
    except SourceError as error:
        assert str(path) in str(error)
        assert list_datasets(store) == []
    else:
        assert report.pairs_added <= 3


def wide(path: Path) -> Path:
    full = table(rows(1)).select(list(COLUMNS))
    for i in range(2_100):
        full = full.append_column(f"c{i}", pa.array([i]))
    pq.write_table(full, path)
    return path


def long_footer(path: Path) -> Path:
    full = table(rows(1)).select(list(COLUMNS))
    pq.write_table(full.replace_schema_metadata({"x": "y" * (65 * 2**20)}), path)
    return path


def promised_footer(path: Path) -> Path:
    path.write_bytes(b"PAR1" + bytes(100) + (2**31 - 1).to_bytes(4, "little") + b"PAR1")
    return path


def deep(path: Path) -> Path:
    kind: pa.DataType = pa.int8()
    for _ in range(200):
        kind = pa.list_(kind)
    full = table(rows(1)).select(list(COLUMNS)).append_column("deep", pa.array([None], kind))
    pq.write_table(full, path)
    return path


def html(path: Path) -> Path:
    path.write_text("<!doctype html><title>Not found</title>" * 100)
    return path


@pytest.mark.parametrize(
    ("make", "saying"),
    [
        (wide, "columns, more than 2,000: refused"),
        (long_footer, "a footer of"),
        (promised_footer, "a footer of"),
        (html, "cannot be read as Parquet"),
        (lambda path: (path.write_bytes(b"") and path) or path, "cannot be read as Parquet"),
        (lambda path: path.write_bytes(b"PAR1") and path, "cannot be read as Parquet"),
        (lambda path: path.write_bytes(b"PAR1PAR1PAR1") and path, "a footer of"),
        (lambda path: path.write_bytes(b"PAR1" + bytes(4) + b"PAR1") and path, "cannot be read as Parquet"),
    ],
)
def test_what_is_no_table_of_pairs_is_refused(
    store: Store, tmp_path: Path, make: Callable[[Path], Path], saying: str
) -> None:
    assert saying in refused(store, make(tmp_path / "a.parquet"))


def test_deep_nesting_beside_the_pairs_does_no_harm(store: Store, tmp_path: Path) -> None:
    try:
        assert ingest(store, deep(tmp_path / "a.parquet"), "pets").pairs_added == 1
    except SourceError as error:
        assert "\n" not in str(error)


def good_parquet() -> bytes:
    out = io.BytesIO()
    pq.write_table(table(rows(30)), out, row_group_size=11)
    return out.getvalue()


GOOD = {
    "parquet": good_parquet(),
    "csv": b"prompt,image_0,image_1,label\n" + b'"a cat, wet",a.png,b.png,left\n' * 20,
    "jsonl": b'{"prompt": "a cat", "image_0": "a.png", "image_1": "b.png", "label": 1}\n' * 20,
    "json": json.dumps([{"prompt": "a", "image_0": "a.png", "image_1": "b.png", "label": "tie"}] * 20).encode(),
}


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Children, Path]]:
    folder = tmp_path_factory.mktemp("harmed")
    with Children(folder, memory_gb=1, remote=False) as children:
        yield children, folder


@settings(max_examples=300)
@given(
    kind=st.sampled_from(sorted(GOOD)),
    flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), max_size=4),
    keep=st.floats(0, 1),
    end=st.booleans(),
)
def test_bytes_that_were_flipped_or_lost_end_in_one_line_or_in_rows(
    reader: tuple[Children, Path], kind: str, flips: list[tuple[float, int]], keep: float, end: bool
) -> None:
    children, folder = reader
    data = bytearray(GOOD[kind])
    for place, mask in flips:
        # Half of them where the footer is.
        at = int(place * len(data)) if not end else len(data) - 1 - int(place * min(len(data), 2_000))
        data[at] ^= mask
    if keep < 0.3:
        del data[int(keep / 0.3 * len(data)) :]
    path = folder / f"a.{kind}"
    path.write_bytes(data)
    (file,) = find_sources(path, [])
    adapter = "pickapic" if kind == "parquet" else "table"
    job = {"do": "stage", "uri": file.uri, "adapter": adapter, "file": vars(file), "ordinal": 0, "folder": str(folder)}
    try:
        (result,) = children.run([job | {"options": {"images": None, "columns": {}}}])
    except SourceError as error:
        assert "\n" not in str(error)
        assert file.uri in str(error)
    else:
        assert 0 <= result["judgements"] <= 60


@pytest.mark.parametrize(
    ("name", "text", "saying"),
    [
        ("a.csv", "prompt,image_0,image_1,label\na,b,c\n", "cannot be read as CSV"),
        ("a.csv", "prompt,image_0,image_1,label\n" + "x" * 9_000_000 + ",b,c,0\n", "cannot be read as CSV"),
        ("a.csv", 'prompt,image_0,image_1,label\n"never closed,b,c,0\n' * 3, "cannot be read as CSV"),
        ("a.csv", "", "it has no header"),
        ("a.csv", "prompt,image_0,image_1,label\n", "has no rows"),
        ("a.jsonl", '{"prompt": ' + "[" * 100_000, "not"),
        ("a.jsonl", '{"prompt": "a", "image_0": "b", "image_1": "c", "label": 0}\n[1]\n', "cannot be read as JSON"),
        ("a.json", '{"a": ' * 100_000, "not"),
        ("a.json", "[]", "it has no rows"),
        ("a.jsonl", '{"prompt": "' + "x" * 5_000_000, "not"),
    ],
)
def test_texts_that_are_no_tables_are_refused(store: Store, tmp_path: Path, name: str, text: str, saying: str) -> None:
    (tmp_path / name).write_text(text)
    assert saying in refused(store, tmp_path / name, format="table")


def test_a_file_that_changes_while_it_is_read_is_not_recorded(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "a.parquet", rows(3))
    real = Children.run

    def slow(self: Children, jobs: list[dict[str, object]], *rest: object) -> object:
        results = real(self, jobs, *rest)  # type: ignore[arg-type]
        if jobs[0]["do"] == "hash":
            write(path, rows(4))
        return results

    monkeypatch.setattr(Children, "run", slow)
    assert "has changed while it was read" in refused(store, path)
    monkeypatch.undo()
    assert ingest(store, path, "pets").pairs_added == 4
    assert get_dataset(store, "pets").n_pairs == 4
