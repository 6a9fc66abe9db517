"""Any one cell of a Parquet column is found whatever the file's layout, for little more than its own bytes, and no
number in the file is believed without a bound."""

import io
import random
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ranking.errors import SourceError
from ranking.images import MAX_BYTES, ImageError
from ranking.images.cells import read_footer, read_images
from ranking.images.cells.views import PageError, open_view


def cells(path: Path, column: str, rows: list[int], *, group: int = 0) -> dict[int, object]:
    with path.open("rb", buffering=0) as file:
        footer = read_footer(file, str(path))
        return dict(read_images(file, str(path), footer, row_group=group, column=column, rows=rows))


def pictures(n: int, *, size: int = 3000, seed: int = 0) -> list[bytes | None]:
    """Bytes as incompressible as a JPEG's, some of them equal, some null, one empty."""
    rng = np.random.default_rng(seed)
    made: list[bytes | None] = [rng.bytes(int(rng.integers(1, size))) for _ in range(n)]
    made[5:8] = [made[1], None, b""]
    made[-1] = None if seed % 2 else made[-1]
    return made


LAYOUTS = [
    {"compression": codec, "use_dictionary": dictionary, "data_page_version": version, "data_page_size": page}
    for codec in ("none", "snappy", "zstd", "gzip", "brotli", "lz4")
    for dictionary in (False, True)
    for version in ("1.0", "2.0")
    for page in (1000, 1 << 30)
] + [
    {"column_encoding": {"jpg": encoding}, "use_dictionary": False}
    for encoding in ("DELTA_LENGTH_BYTE_ARRAY", "DELTA_BYTE_ARRAY")
]


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: " ".join(map(str, layout.values())))
def test_every_cell_is_found_in_every_layout(tmp_path: Path, layout: dict) -> None:
    wanted = pictures(60)
    pq.write_table(pa.table({"jpg": wanted}), tmp_path / "a.parquet", row_group_size=41, write_batch_size=7, **layout)
    for group, first, count in ((0, 0, 41), (1, 41, 19)):
        rows = list(range(first, first + count))
        assert cells(tmp_path / "a.parquet", "jpg", rows, group=group) == dict(zip(rows, wanted[first:], strict=False))
        for row in rows:
            assert cells(tmp_path / "a.parquet", "jpg", [row], group=group) == {row: wanted[row]}


@pytest.mark.parametrize("compression", ["none", "snappy", "zstd", "gzip"])
@pytest.mark.parametrize("dictionary", [False, True])
def test_pages_of_many_megabytes_are_read_piecemeal(tmp_path: Path, compression: str, dictionary: bool) -> None:
    """Above four megabytes a page is not decompressed whole; text between the noise makes Snappy look back."""
    rng = np.random.default_rng(3)
    wanted = [rng.bytes(70_000) + b"the same header again and again " * 9 + rng.bytes(i * 100) for i in range(150)]
    wanted[20] = wanted[3]
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"jpg": wanted}), path, compression=compression, use_dictionary=dictionary)
    assert cells(path, "jpg", list(range(150))) == dict(enumerate(wanted))
    assert cells(path, "jpg", [149]) == {149: wanted[149]}


def test_one_cell_of_a_large_page_costs_little_more_than_itself(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    path = tmp_path / "a.parquet"
    wanted = [rng.bytes(100_000) for _ in range(400)]
    pq.write_table(pa.table({"jpg": wanted}), path, compression="snappy")
    read: list[int] = []

    class Counted(io.FileIO):
        def read(self, size: int = -1) -> bytes:
            data = super().read(size)
            read.append(len(data))
            return data

    with Counted(path) as file:
        footer = read_footer(file, "a")
        tracemalloc.start()
        (found,) = read_images(file, "a", footer, row_group=0, column="jpg", rows=[399])
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert found == (399, wanted[399])
    assert sum(read) < 2_000_000 < 40_000_000 < path.stat().st_size
    assert peak < 2_000_000


@pytest.mark.parametrize("required", [False, True])
def test_cells_inside_structs_are_found_by_their_dotted_name(tmp_path: Path, required: bool) -> None:
    inner = pa.struct([pa.field("bytes", pa.binary(), nullable=not required), pa.field("path", pa.string())])
    rows = [{"bytes": b"first", "path": "x"}, None, {"bytes": b"", "path": None}, {"bytes": b"last", "path": "y"}]
    if not required:
        rows[2] = {"bytes": None, "path": "z"}
    table = pa.table({"image": pa.array(rows, inner), "image.bytes": [b"no"] * 4})
    for name, options in (("ours", {}), ("pyarrows", {"column_encoding": {"image.bytes": "DELTA_BYTE_ARRAY"}})):
        path = tmp_path / f"{name}.parquet"
        pq.write_table(table.select(["image"]), path, use_dictionary=not options, **options)
        found = cells(path, "image.bytes", [0, 1, 2, 3])
        assert found == {0: b"first", 1: None, 2: b"" if required else None, 3: b"last"}


@pytest.mark.parametrize("options", [{}, {"use_dictionary": False, "column_encoding": "DELTA_LENGTH_BYTE_ARRAY"}])
def test_a_cell_above_the_cap_is_too_large_and_its_neighbours_are_read(tmp_path: Path, options: dict) -> None:
    path = tmp_path / "a.parquet"
    wanted = [b"small", bytes(MAX_BYTES + 1), b"also small"]
    pq.write_table(pa.table({"jpg": wanted}), path, compression="zstd", **options)
    found = cells(path, "jpg", [0, 1, 2])
    assert (found[0], found[2]) == (b"small", b"also small")
    assert isinstance(found[1], ImageError) and found[1].status == "too_large"
    assert str(MAX_BYTES + 1) in str(found[1])


def test_a_page_that_would_decompress_to_far_more_than_it_is_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.parquet"
    for options in ({}, {"column_encoding": "DELTA_LENGTH_BYTE_ARRAY"}):
        bomb = pa.table({"jpg": [bytes(1_000_000)] * 200})
        pq.write_table(bomb, path, compression="zstd", use_dictionary=False, **options)
        assert path.stat().st_size < 100_000
        with pytest.raises(SourceError, match=r"would decompress to 200\d+"):
            cells(path, "jpg", [199])


def test_a_page_that_claims_thousands_of_millions_of_nulls_is_refused(tmp_path: Path) -> None:
    path, rows = tmp_path / "nulls.parquet", 6_000_000
    nulls = pa.table({"jpg": pa.nulls(rows, pa.binary())})
    pq.write_table(nulls, path, row_group_size=rows, write_batch_size=rows, max_rows_per_page=rows)
    assert path.stat().st_size < 1000
    with pytest.raises(SourceError, match="claims 6000000 values"):
        cells(path, "jpg", [1])


def test_pointers_that_lead_nowhere_are_clear_errors(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"jpg": [b"a", b"b"], "list": [[b"x"], []], "n": [1, 2]}), path)
    for column, group, row, reason in (
        ("png", 0, 0, "column png is not there"),
        ("n", 0, 0, "holds no bytes, or several a row"),
        ("list.list.element", 0, 0, "holds no bytes, or several a row"),
        ("jpg", 1, 0, "it has no row group 1"),
        ("jpg", 0, 2, "does not hold the rows"),
        ("jpg", 0, -1, "does not hold the rows"),
    ):
        with pytest.raises(SourceError, match=reason):
            cells(path, column, [row], group=group)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not a Parquet file"),
        (b"PAR1", "not a Parquet file"),
        (b"<html>" * 100, "not a Parquet file"),
        (b"PAR1" + bytes(100) + (2**31 - 1).to_bytes(4, "little") + b"PAR1", "footer claims more than 32 MB"),
        (b"PAR1" + bytes(100) + (50).to_bytes(4, "little") + b"PAR1", "cannot be read"),
        (b"PAR1" + bytes(100) + (5000).to_bytes(4, "little") + b"PAR1", "cannot be read"),
    ],
)
def test_what_is_no_parquet_file_is_a_clear_error(data: bytes, reason: str) -> None:
    with pytest.raises(SourceError, match=reason):
        read_footer(io.BytesIO(data), "x")


def test_a_damaged_byte_is_found_by_the_page_checksum(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    wanted = pictures(20)
    pq.write_table(pa.table({"jpg": wanted}), path, compression="none", use_dictionary=False, write_page_checksum=True)
    data = bytearray(path.read_bytes())
    data[data.index(wanted[9] or b"") + 1] ^= 1
    path.write_bytes(data)
    with pytest.raises(SourceError, match="checksum"):
        cells(path, "jpg", [3])


@settings(max_examples=400)
@given(seed=st.integers(0, 10**9), layout=st.sampled_from(LAYOUTS))
def test_whatever_is_damaged_a_cell_or_a_clear_error_comes_of_it(
    tmp_path_factory: pytest.TempPathFactory, seed: int, layout: dict
) -> None:
    chance = random.Random(seed)
    path = tmp_path_factory.getbasetemp() / "fuzzed.parquet"
    pq.write_table(pa.table({"jpg": pictures(30, size=300)}), path, write_batch_size=7, **layout)
    data = bytearray(path.read_bytes())
    for _ in range(chance.choice((1, 1, 3, 40))):
        data[chance.randrange(4, len(data))] = chance.randrange(256)
    path.write_bytes(data[: chance.choice((len(data), len(data), chance.randrange(len(data))))])
    try:
        found = cells(path, "jpg", [0, 6, 17, 29])
    except SourceError:
        return
    assert all(cell is None or isinstance(cell, bytes | ImageError) for cell in found.values())


@pytest.mark.parametrize("codec", ["SNAPPY", "ZSTD"])
@settings(max_examples=60)
@given(seed=st.integers(0, 10**9), damaged=st.booleans())
def test_a_view_gives_the_bytes_of_the_whole_or_an_error(codec: str, seed: int, damaged: bool) -> None:
    chance = random.Random(seed)
    noise = random.Random(0).randbytes(300_000)
    parts = [
        noise[: chance.randrange(200_000)] if chance.random() < 0.5 else b"abc" * chance.randrange(90_000)
        for _ in range(40)
    ]
    plain = b"".join(parts) + bytes(4 << 20)
    packed = bytearray(pa.Codec(codec.lower()).compress(plain, asbytes=True))
    if damaged:
        packed[chance.randrange(len(packed))] ^= 1 << chance.randrange(8)
    marks = sorted(chance.randrange(len(plain)) for _ in range(12))
    try:
        view = open_view(
            lambda at, n: bytes(packed[at : at + n]), codec, packed=len(packed), size=len(plain), forward=True
        )
        read = [view.read(*pair) for pair in zip(marks[::2], marks[1::2], strict=True)]
    except PageError:
        assert damaged
        return
    if not damaged:
        assert read == [plain[start:end] for start, end in zip(marks[::2], marks[1::2], strict=True)]
    with pytest.raises(PageError):
        view.read(len(plain) - 1, len(plain) + 1)
