"""A file that is damaged is noticed when it is loaded, by its sha256: nothing is computed from it, its name is told,
and the API goes on serving what it had."""

from collections.abc import Callable
from pathlib import Path

import pytest
from pickapic_factory import rows, write
from scored import score_all
from service_factory import serving

from ranking.audit import audit
from ranking.errors import StoreError
from ranking.features.wide import wide_table
from ranking.ingest import ingest
from ranking.store.blobs import Store
from ranking.store.snapshots import Snapshot, create_snapshot
from ranking.subsets.recipe import parse_recipe
from ranking.subsets.select import create_subset

RECIPE = {"name": "best", "dataset": "pets", "metric": {"name": "margin", "scorer": "sharp"}, "take": {"count": 2}}


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


DAMAGES: dict[str, Callable[[Path], object]] = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-30]),
    "empty": lambda path: path.write_bytes(b""),
    "flipped": flip,
    "deleted": lambda path: path.unlink(),
}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store whose one snapshot is sound."""
    store = Store.open(tmp_path / "store")
    ingest(store, write(tmp_path / "pairs.parquet", rows(6)), "pets", slice_items=5)
    score_all(store, "pets", {"sharp@00000000": lambda uid: len(uid) / 8})
    return store


def second_snapshot(store: Store) -> tuple[Snapshot, Path]:
    """A newer snapshot, and a file that it alone has."""
    snapshot = score_all(store, "pets", {"hue@11111111": lambda uid: int(uid[4:]) / 8})
    file = next(member.file for member in snapshot.members if member.scorer_id == "hue@11111111")
    return snapshot, store.local(file)


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_the_api_keeps_the_snapshot_it_has_and_says_so(store: Store, damage: Callable[[Path], object]) -> None:
    with serving(store) as client:
        snapshots = client.app.state.parts.snapshots  # type: ignore[attr-defined]
        assert client.get("/readyz").json()["checks"]["snapshot"]["detail"] == "snapshot 1"
        _, path = second_snapshot(store)
        whole = path.read_bytes()
        damage(path)
        snapshots._try_refresh()
        ready = client.get("/readyz")
        assert (ready.status_code, ready.json()["checks"]["snapshot"]["ok"]) == (503, False)
        assert ready.json()["checks"]["snapshot"]["detail"] == "a newer one failed; snapshot 1"
        assert str(store.workspace) not in ready.text
        pairs = client.get("/v1/pairs?dataset=pets")
        assert (pairs.status_code, len(pairs.json()["items"])) == (200, 6)
        assert client.get("/livez").status_code == 200

        path.write_bytes(whole)
        snapshots._try_refresh()
        assert client.get("/readyz").json()["checks"]["snapshot"] == {"ok": True, "detail": "snapshot 2"}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_nothing_is_built_from_a_damaged_file_and_the_error_names_it(
    store: Store, damage: Callable[[Path], object]
) -> None:
    snapshot, path = second_snapshot(store)
    damage(path)
    for build in (
        lambda: wide_table(store, snapshot, "pets"),
        lambda: create_subset(store, parse_recipe(RECIPE | {"seed": 0}), snapshot),
    ):
        with pytest.raises(StoreError, match=path.name) as caught:
            build()
        assert caught.value.code == "damaged"
    assert store.list("wide") == store.list("subsets") == []
    assert path.name in " ".join(each.key for each in audit(store).errors)


@pytest.mark.parametrize("damage", [DAMAGES[name] for name in ("truncated", "empty", "deleted")])
def test_no_snapshot_is_made_of_a_file_without_its_bytes(store: Store, damage: Callable[[Path], object]) -> None:
    _, path = second_snapshot(store)
    damage(path)
    with pytest.raises(StoreError, match=path.name):
        create_snapshot(store)
