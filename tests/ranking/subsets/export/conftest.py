"""Two stores that exports read from and leave alone, made once: little JPEGs in Parquet, and images of every kind."""

import io
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from pickapic_factory import Row, jpeg, rows, with_raw, write
from PIL import Image
from scored import score_all

from ranking.ingest import ingest
from ranking.store.blobs import Store
from ranking.store.snapshots import Snapshot
from ranking.subsets.catalog import Subset
from ranking.subsets.export.export import ExportReport, export_subset
from ranking.subsets.recipe import parse_recipe
from ranking.subsets.select import create_subset

Export = Callable[..., ExportReport]


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Snapshot]:
    """A store with twelve judgements "pets", eight with a winner, and eight "odd" ones: of `best` pairs one image is
    PNG, one WebP, one no image, one gone and one an animation; two rows show the same picture."""
    folder = tmp_path_factory.mktemp("exports")
    write(folder / "source/part-0.parquet", rows(6), row_group_size=4)
    write(folder / "source/part-1.parquet", rows(6, first=6), row_group_size=4)
    same = with_raw(Row("prompt 7", "copy", "img-93", 0), jpg_0=jpeg("img-92"))
    odd = [
        with_raw(Row("prompt 0", "png", "img-90", 0), jpg_0=encoded("PNG")),
        with_raw(Row("prompt 1", "webp", "img-91", 1), jpg_0=encoded("WEBP", quality=90)),
        Row("prompt 2", "img-92", "img-93", 0, user=None),
        with_raw(Row("prompt 3", "broken", "img-94", 0), jpg_0=b"\xff\xd8\xff no more of it"),
        with_raw(Row("prompt 4", "gone", "img-95", 0), jpg_0=None),
        with_raw(Row("prompt 5", "moving", "img-96", 0), jpg_0=animation()),
        Row("prompt 6", "img-97", "img-98", 1),
        same,
    ]
    write(folder / "odd/odd.parquet", odd)
    store = Store.open(folder / "store")
    ingest(store, folder / "source", "pets", slice_items=5)
    ingest(store, folder / "odd", "odd")
    for name in ("pets", "odd"):
        snapshot = score_all(store, name, {"sharp@00000000": opinion})
    return store, snapshot


@pytest.fixture
def copied(shop: tuple[Store, Snapshot], tmp_path: Path) -> Store:
    """A copy of the store that a test may change."""
    shutil.copytree(shop[0].uri, tmp_path / "copy")
    return Store.open(tmp_path / "copy")


@pytest.fixture(scope="session")
def subset(shop: tuple[Store, Snapshot]) -> Subset:
    """The pairs of "pets", relabelled by "sharp", the best by its margin first."""
    return make_subset(shop, name="best", labels={"relabel": "sharp"})


@pytest.fixture(scope="session")
def odd(shop: tuple[Store, Snapshot]) -> Subset:
    """The pairs of "odd"."""
    return make_subset(shop, name="odd", dataset="odd")


@pytest.fixture
def export(shop: tuple[Store, Snapshot], subset: Subset, tmp_path: Path) -> Export:
    """export(format, folder=…, of=…, **options): the subset, or another, as a folder."""

    def run(format: str, folder: Path | None = None, *, of: Subset | None = None, **options: Any) -> ExportReport:
        return export_subset(shop[0], of or subset, folder or tmp_path / format, format=format, **options)

    return run


@pytest.fixture
def cut() -> Callable[..., Subset]:
    """make_subset, for a test that wants one of its own."""
    return make_subset


def make_subset(shop: tuple[Store, Snapshot], **recipe: Any) -> Subset:
    """A subset by the margin of "sharp", with all pairs of "pets" unless the recipe says otherwise."""
    wanted = {"name": "all", "dataset": "pets", "metric": {"name": "margin", "scorer": "sharp"}}
    return create_subset(shop[0], parse_recipe(wanted | {"take": {"percent": 100.0}} | recipe), shop[1])


def opinion(uid: str) -> float:
    """A score between 0 and 1 that depends on nothing but the name."""
    return int(sha256(f"sharp {uid}".encode()).hexdigest()[:4], 16) / 65536


def encoded(format: str, **options: Any) -> bytes:
    """A little picture in that format."""
    out = io.BytesIO()
    Image.new("RGB", (8, 8), (200, 30, 90)).save(out, format, **options)
    return out.getvalue()


def animation() -> bytes:
    """Two frames of WebP."""
    out = io.BytesIO()
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(out, "WEBP", save_all=True, append_images=frames[1:])
    return out.getvalue()
