"""Thumbnails come from the packs that scoring made, or are made on demand; neither a lost nor a damaged pack shows."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fake_committee import FakeCommittee
from pickapic_factory import jpeg, rows, with_raw, write
from PIL import Image
from service_factory import serving
from starlette.testclient import TestClient

from ranking.datasets import Dataset, get_dataset
from ranking.images import ImageReader
from ranking.images.thumbnails import pack_key
from ranking.ingest import ingest
from ranking.plan import create_plan
from ranking.settings import Settings
from ranking.store.blobs import Store
from ranking.store.snapshots import create_snapshot
from service.pictures import Pictures
from service.problems import ApiProblem
from service.shelf import Recent
from workers.drive import score_here

LARGE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (400, 300, 3), np.uint8))


def png(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


@pytest.fixture
def scored(store: Store, tmp_path: Path) -> Dataset:
    """Thirty pairs in slices of twenty items, scored by the engine; img-0 is large, img-1 damaged."""
    first, second, *more = rows(30)
    write(tmp_path / "a.parquet", [with_raw(first, jpg_0=png(LARGE)), with_raw(second, jpg_0=b"no"), *more])
    ingest(store, tmp_path / "a.parquet", "pets", slice_items=20)
    committee = FakeCommittee()
    score_here(store, create_plan(store, "pets", committee.scorer_ids.values()), committee)
    create_snapshot(store)
    return get_dataset(store, "pets")


@pytest.fixture
def pictures(store: Store) -> Iterator[Pictures]:
    pictures = Pictures(store, Settings())
    yield pictures
    pictures.close()


@pytest.fixture
def source_is_shut(scored: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    def shut(*_: object) -> None:
        raise AssertionError("the source was read")

    monkeypatch.setattr(ImageReader, "read_each", shut)


def size(data: bytes) -> tuple[int, int]:
    image = Image.open(io.BytesIO(data))
    assert image.format == "WEBP"
    return image.size


@pytest.mark.usefixtures("source_is_shut")
def test_what_was_scored_is_shown_without_touching_the_source(pictures: Pictures, scored: Dataset) -> None:
    assert size(pictures.thumbnail(scored, "img-0", 256).data) == (192, 256)
    small = pictures.thumbnail(scored, "img-29", 256).data
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(small))), np.asarray(Image.open(io.BytesIO(jpeg("img-29")))))
    assert (pictures.is_small(scored, "img-29"), pictures.is_small(scored, "img-0")) == (True, False)


def test_other_sizes_are_made_on_demand_and_the_store_stays_as_it_is(
    store: Store, pictures: Pictures, scored: Dataset
) -> None:
    before = store.list("")
    assert size(pictures.thumbnail(scored, "img-0", 512).data) == (300, 400)
    pictures.prepare(scored, [f"img-{i}" for i in range(30)], 512)
    pictures.close()
    assert store.list("") == before


@pytest.mark.parametrize("damage", ["gone", "empty", "cut", "flipped"])
def test_a_pack_that_is_lost_or_damaged_is_made_up_for(
    store: Store, scored: Dataset, pictures: Pictures, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    intact = {f"img-{i}": pictures.thumbnail(scored, f"img-{i}", 256).data for i in (0, 5, 29)}
    for key in store.list("thumbs"):
        path = store.local(key)
        data = bytearray(path.read_bytes())
        middle = slice(len(data) // 4, len(data) // 2)
        data[middle] = bytes(255 - byte for byte in data[middle])
        path.unlink()
        if damage != "gone":
            path.write_bytes({"empty": b"", "cut": bytes(data[:-9]), "flipped": bytes(data)}[damage])
    fresh = Pictures(store, Settings())
    for held in (pictures, fresh):
        for _ in range(2):
            assert {uid: held.thumbnail(scored, uid, 256).data for uid in intact} == intact
    fresh.close()
    assert 1 <= len([line for line in caplog.messages if "is of no use" in line]) <= 2 * len(scored.slices)


def test_a_damaged_pack_is_no_server_error(store: Store, scored: Dataset) -> None:
    for key in store.list("thumbs"):
        store.local(key).write_bytes(b"PAR1" + bytes(500) + (300).to_bytes(4, "little") + b"PAR1")
    with serving(store) as client:
        statuses = {uid: ask(client, uid) for uid in ("img-0", "img-5", "img-1", "nobody")}
    assert statuses == {"img-0": 200, "img-5": 200, "img-1": 422, "nobody": 404}


def ask(client: TestClient, uid: str) -> int:
    return client.get(f"/v1/images/{uid}?dataset=pets&size=256").status_code


def test_a_pack_that_comes_later_is_used(
    store: Store, tmp_path: Path, pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "b.parquet", rows(9))
    ingest(store, tmp_path / "b.parquet", "later")
    dataset, committee = get_dataset(store, "later"), FakeCommittee()
    before = pictures.thumbnail(dataset, "img-3", 256).data
    score_here(store, create_plan(store, "later", committee.scorer_ids.values()), committee)
    (key,) = store.list("thumbs")
    assert key == pack_key(dataset.slices[0].unit)
    monkeypatch.setattr(Recent, "get", lambda *_: None)
    (tmp_path / "b.parquet").unlink()
    assert pictures.thumbnail(dataset, "img-3", 256).data == before


def test_pages_of_pictures_are_made_ahead_in_one_pass(
    scored: Dataset, pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes: list[int] = []
    real = ImageReader.read_each

    def counted(self: ImageReader, items: object) -> object:
        passes.append(len(items))  # type: ignore[arg-type]
        return real(self, items)  # type: ignore[arg-type]

    monkeypatch.setattr(ImageReader, "read_each", counted)
    uids = [f"img-{i}" for i in range(20)]
    pictures.prepare(scored, [*uids, *uids, "nobody"], 512)
    for uid in uids:
        if uid != "img-1":
            assert pictures.thumbnail(scored, uid, 512).data
    end = time.monotonic() + 20
    while pictures._coming and time.monotonic() < end:
        time.sleep(0.01)
    assert len(passes) == 1
    with pytest.raises(ApiProblem):
        pictures.thumbnail(scored, "img-1", 512)


def test_what_is_kept_in_memory_is_bounded_and_the_oldest_goes() -> None:
    recent: Recent[int, bytes] = Recent(100)
    for number in range(50):
        recent.put(number, bytes(30), weight=30)
        assert recent.get(0) is not None and recent.held <= 100
    assert [number for number in range(50) if recent.get(number)] == [0, 48, 49]
    recent.put(49, b"", weight=1)
    assert recent.held == 61
    recent.put(7, bytes(1000), weight=1000)
    assert recent.get(7) is None and recent.held == 0
