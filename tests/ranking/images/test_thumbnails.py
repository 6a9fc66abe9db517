"""Thumbnails: small pictures keep every pixel, large ones fit; a pack gives back what was put in, or says it cannot."""

import io
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ranking.errors import SourceError, UsageError
from ranking.images.thumbnails import Pack, PackWriter, pack_key, shrink
from ranking.store.blobs import Store

UNIT = "0123456789abcdef"
NOISE = np.random.default_rng(0).integers(0, 256, (600, 900, 3), np.uint8)


def opened(webp: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(webp))
    assert image.format == "WEBP"
    return image.convert("RGB")


@pytest.mark.parametrize(
    ("size", "side", "becomes"),
    [
        ((900, 600), 256, (256, 171)),
        ((600, 900), 256, (171, 256)),
        ((900, 600), 512, (512, 341)),
        ((300, 200), 512, (300, 200)),
        ((5000, 2), 256, (256, 1)),
        ((64, 64), 256, (64, 64)),
        ((1, 1), 256, (1, 1)),
    ],
)
def test_a_thumbnail_fits_and_is_never_enlarged(size: tuple[int, int], side: int, becomes: tuple[int, int]) -> None:
    assert opened(shrink(Image.new("RGB", size), side)).size == becomes


def test_pictures_that_are_small_lose_nothing() -> None:
    small = NOISE[:128, :100]
    assert np.array_equal(np.asarray(opened(shrink(Image.fromarray(small), 256))), small)


def test_a_thumbnail_looks_like_its_picture() -> None:
    gradient = Image.linear_gradient("L").resize((900, 600)).convert("RGB")
    shown = np.asarray(opened(shrink(gradient, 256)), np.float64)
    assert np.abs(shown - np.asarray(gradient.resize((256, 171)), np.float64)).max() < 12


def webps(n: int) -> dict[str, bytes]:
    return {f"image {i} ü": random.Random(i).randbytes(100 + i * 37 % 3000) for i in range(n)}


def put(store: Store, wanted: dict[str, bytes]) -> Path:
    with PackWriter(store) as pack:
        for uid, webp in wanted.items():
            pack.add(uid, webp)
        assert pack.put(UNIT)
    return store.local(pack_key(UNIT))


@pytest.mark.parametrize("count", [0, 1, 64, 65, 200])
def test_a_pack_gives_back_what_was_put_in(store: Store, count: int) -> None:
    wanted = webps(count)
    pack = Pack.open(put(store, wanted))
    assert {uid: pack.read(uid) for uid in wanted} == wanted
    assert pack.read("another") is None
    assert list(store.tmp().iterdir()) == []


def test_the_first_pack_of_a_unit_stays(store: Store) -> None:
    path = put(store, webps(3))
    before = path.read_bytes()
    with PackWriter(store) as pack:
        pack.add("x", b"y")
        assert not pack.put(UNIT)
    assert path.read_bytes() == before and list(store.tmp().iterdir()) == []


def test_a_pack_that_is_not_finished_leaves_nothing(store: Store) -> None:
    with pytest.raises(RuntimeError), PackWriter(store) as pack:
        for uid, webp in webps(100).items():
            pack.add(uid, webp)
        raise RuntimeError("killed")
    assert store.list("thumbs") == [] and list(store.tmp().iterdir()) == []


def test_only_units_name_packs() -> None:
    with pytest.raises(UsageError):
        pack_key("../../etc/passwd")


def test_a_pack_that_is_gone_or_gone_since_is_a_clear_error(store: Store) -> None:
    path = put(store, webps(3))
    pack = Pack.open(path)
    path.unlink()
    with pytest.raises(SourceError):
        pack.read("image 0 ü")
    with pytest.raises(SourceError):
        Pack.open(path)


@settings(max_examples=150)
@given(seed=st.integers(0, 10**9))
def test_a_damaged_pack_is_an_error_or_gives_what_was_put_in(
    tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    folder = tmp_path_factory.getbasetemp() / "packs"
    if not folder.exists():
        put(Store.open(folder), webps(100))
    chance = random.Random(seed)
    data = bytearray(Store.open(folder).get(pack_key(UNIT)))
    for _ in range(chance.choice((1, 1, 5))):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    path = folder / "damaged"
    path.write_bytes(data[: chance.choice((len(data), chance.randrange(len(data))))])
    try:
        pack = Pack.open(path)
        found = {uid: pack.read(uid) for uid in ("image 5 ü", "image 99 ü")}
    except SourceError:
        return
    assert all(webp in (None, webps(100)[uid]) for uid, webp in found.items())
