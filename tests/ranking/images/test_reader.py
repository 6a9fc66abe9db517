"""Images are found by pointer, and hostile bytes become a status instead of a crash."""

import io
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pickapic_factory import Row, jpeg, rows, with_raw, write
from PIL import Image

from ranking import plan
from ranking.datasets import Dataset, get_dataset
from ranking.errors import SourceError
from ranking.images import MAX_BYTES, ImageError, ImageReader, decode_rgb
from ranking.ingest import ingest
from ranking.store.blobs import Store


def encoded(image: Image.Image, format: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_the_three_formats_decode_to_rgb(format: str) -> None:
    image = decode_rgb(encoded(Image.new("RGB", (5, 3), (200, 0, 0)), format))
    assert (image.mode, image.size) == ("RGB", (5, 3))
    assert np.abs(np.asarray(image)[1, 1].astype(int) - [200, 0, 0]).max() <= 4


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_pixels_become_white(mode: str) -> None:
    clear = Image.new("RGBA", (2, 2), (255, 0, 0, 0))
    data = encoded(clear.convert(mode), "PNG", **({"transparency": 0} if mode == "P" else {}))
    assert np.asarray(decode_rgb(data)).min() == 255


@pytest.mark.parametrize("mode", ["L", "1", "CMYK", "I;16"])
def test_other_modes_become_rgb(mode: str) -> None:
    format = "JPEG" if mode == "CMYK" else "PNG"
    assert decode_rgb(encoded(Image.new(mode, (2, 2)), format)).mode == "RGB"


def test_pixels_stay_as_stored_whatever_exif_says() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # "rotate by 90°"
    assert decode_rgb(encoded(Image.new("RGB", (5, 3)), "JPEG", exif=exif)).size == (5, 3)


def animation(format: str) -> bytes:
    frames = [Image.new("RGB", (4, 4), color) for color in ("red", "blue")]
    return encoded(frames[0], format, save_all=True, append_images=frames[1:])


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (None, "missing"),
        (b"", "missing"),
        (b"not an image", "corrupt"),
        (jpeg("a")[:-20], "corrupt"),
        (encoded(Image.new("RGB", (64, 64)), "PNG")[:60], "corrupt"),
        (encoded(Image.new("RGB", (4, 4)), "GIF"), "corrupt"),
        (encoded(Image.new("RGB", (4, 4)), "BMP"), "corrupt"),
        (b"\xff" * (MAX_BYTES + 1), "too_large"),
        (encoded(Image.new("1", (5001, 5000)), "PNG"), "too_large"),
        (encoded(Image.new("1", (20_000, 20_000)), "PNG"), "too_large"),
        (animation("WEBP"), "unsupported"),
        (animation("PNG"), "unsupported"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_unusable_image_has_a_status(data: bytes | None, status: str) -> None:
    with pytest.raises(ImageError) as caught:
        decode_rgb(data)
    assert caught.value.status == status


@settings(max_examples=150)
@given(at=st.integers(0, 300), value=st.integers(0, 255), cut=st.integers(0, 20))
def test_damaged_bytes_decode_or_have_a_status(at: int, value: int, cut: int) -> None:
    data = bytearray(jpeg("victim"))
    data[at % len(data)] = value
    try:
        assert decode_rgb(bytes(data[: len(data) - cut])).mode == "RGB"
    except ImageError as error:
        assert error.status in ("corrupt", "too_large", "missing")


def test_every_image_of_a_dataset_is_found_by_its_uid(store: Store, dataset: Dataset) -> None:
    wanted = [f"img-{i}" for i in range(15)]
    images = ImageReader(store, dataset).read([*wanted, "no-such-image"])
    assert images == {uid: jpeg(uid) for uid in wanted}


def test_the_images_of_a_slice_are_read_by_pointer(store: Store, dataset: Dataset) -> None:
    job = plan.create_plan(store, dataset.name, ["a@00000000"])
    reader = ImageReader(store, dataset)
    for piece in job.slices:
        items = plan.read_items(store, job, piece)
        assert reader.read_items(items) == {uid: jpeg(uid) for uid in items["image_uid"].to_pylist()}


def test_images_of_later_revisions_are_found_too(store: Store, dataset: Dataset, tmp_path: Path) -> None:
    ingest(store, write(tmp_path / "more.parquet", [Row("later", "new-0", "new-1")]), dataset.name)
    images = ImageReader(store, get_dataset(store, dataset.name)).read(["img-0", "new-1"])
    assert images == {"img-0": jpeg("img-0"), "new-1": jpeg("new-1")}


def test_a_null_cell_and_a_file_without_image_columns_read_as_none(store: Store, tmp_path: Path) -> None:
    source = tmp_path / "source"
    write(source / "a.parquet", [with_raw(Row("cat", "a", "b"), jpg_0=None)])
    write(source / "b.parquet", [Row("dog", "c", "d")], without=["jpg_0", "jpg_1"])
    ingest(store, source, "bare")
    assert ImageReader(store, get_dataset(store, "bare")).read(["a", "b", "c"]) == {
        "a": None,
        "b": jpeg("b"),
        "c": None,
    }


def test_only_the_image_columns_of_the_needed_row_groups_are_read(
    store: Store, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[list[int], list[str]]] = []
    real = pq.ParquetFile.iter_batches

    def spy(self: pq.ParquetFile, **options: object) -> object:
        asked.append((options["row_groups"], options["columns"]))
        return real(self, **options)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", spy)
    ImageReader(store, dataset).read(["img-4"])  # first seen as image 1 of row 1, in row group 0
    assert asked == [([0], ["jpg_1"])]


def test_a_source_that_moved_or_changed_is_a_clear_error(store: Store, dataset: Dataset) -> None:
    path = Path(dataset.sources[0].uri)
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(SourceError, match="has changed") as caught:
        ImageReader(store, dataset).read(["img-0"])
    assert caught.value.code == "source-changed"
    path.unlink()
    with pytest.raises(SourceError, match="is gone"):
        ImageReader(store, dataset).read(["img-0"])


def test_a_source_that_is_damaged_inside_is_a_clear_error(store: Store, tmp_path: Path) -> None:
    path = write(tmp_path / "pairs.parquet", rows(4))
    ingest(store, path, "pets")
    path.write_bytes(b"PAR1" + bytes(path.stat().st_size - 8) + b"PAR1")
    with pytest.raises(SourceError, match="cannot be read"):
        ImageReader(store, get_dataset(store, "pets")).read(["img-0"])


def test_large_row_groups_are_read_in_pieces(store: Store, tmp_path: Path) -> None:
    path = write(tmp_path / "pairs.parquet", rows(200))
    ingest(store, path, "pets")
    reader = ImageReader(store, get_dataset(store, "pets"))
    assert reader.read(["img-150", "img-3"]) == {"img-150": jpeg("img-150"), "img-3": jpeg("img-3")}
