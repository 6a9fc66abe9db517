"""An image that was taken down is nowhere any more, under no name; and comes back if that was wrong."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from fake_committee import FakeCommittee
from pickapic_factory import Row, jpeg, rows, with_raw, write

import ranking.flags.taking
from ranking.audit import audit
from ranking.datasets import get_dataset
from ranking.errors import UnknownNameError, UsageError
from ranking.features.wide import wide_table
from ranking.flags.copies import without_taken_down
from ranking.flags.listing import list_takedowns
from ranking.flags.taking import take_down
from ranking.flags.withdrawing import find_flag, withdraw_flag
from ranking.images import ImageReader, TakenDownError
from ranking.images.thumbnails import Pack, pack_key
from ranking.ingest import ingest
from ranking.names import sha256_hex
from ranking.plan import create_plan
from ranking.store.blobs import Store
from ranking.store.snapshots import Snapshot, create_snapshot, get_snapshot
from ranking.subsets.catalog import subset_pairs
from ranking.subsets.export.export import export_subset
from ranking.subsets.recipe import parse_recipe
from ranking.subsets.select import create_subset, explain
from workers.drive import score_here

BAD = jpeg("img-1")
RECIPE = {"name": "r", "dataset": "pets", "metric": {"name": "margin", "scorer": "redder"}, "take": {"percent": 100}}


@dataclass(frozen=True)
class Place:
    """A scored store. Of `pets`, img-7 has the bytes of img-1, and so has z-a of `zoo`: together they are in the pairs
    of rows 1, 4 and 7 of the one, and in one of two of the other."""

    store: Store
    snapshot: Snapshot


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("takedowns")
    pets = rows(12)
    pets[4], pets[7] = with_raw(pets[4], jpg_1=BAD), with_raw(pets[7], jpg_0=BAD)
    write(root / "pets.parquet", pets)
    write(root / "zoo.parquet", [with_raw(Row("p", "z-a", "z-b"), jpg_0=BAD), Row("p", "z-b", "z-c")])
    store = Store.open(root / "store")
    for name in ("pets", "zoo"):
        ingest(store, root / f"{name}.parquet", name, slice_items=6)
        score(store, name)
    snapshot = create_snapshot(store)
    for name in ("pets", "zoo"):
        wide_table(store, snapshot, name)
    return root / "store"


@pytest.fixture
def place(scored: Path, tmp_path: Path) -> Place:
    store = Store.open(shutil.copytree(scored, tmp_path / "store"))
    return Place(store, get_snapshot(store, 1))


def score(store: Store, name: str, committee: FakeCommittee | None = None) -> None:
    committee = committee or FakeCommittee()
    score_here(store, create_plan(store, name, committee.scorer_ids.values()), committee)


def pairs_of(store: Store, snapshot: Snapshot, name: str = "pets") -> set[tuple[str, str]]:
    table = pq.read_table(wide_table(store, snapshot, name), columns=["image_0_uid", "image_1_uid"])
    return {(row["image_0_uid"], row["image_1_uid"]) for row in table.to_pylist()}


def take(store: Store, uid: str = "img-1", **more: str) -> ranking.flags.taking.TookDown:
    return take_down(store, uid, **{"by": "dpo", "why": "a private person", "door": "cli"} | more)  # type: ignore[arg-type]


def packed(store: Store) -> set[str]:
    return {uid for key in store.list("thumbs") for uid in Pack.open(store.local(key)).rows}


def test_a_take_down_covers_every_image_with_the_same_bytes(place: Place) -> None:
    done = take(place.store)
    assert done.new
    assert done.record.sha256 == sha256_hex(BAD)
    assert done.images == {"pets": ("img-1", "img-7"), "zoo": ("z-a",)}
    assert done.pairs == {"pets": 3, "zoo": 1}
    again = take(place.store, by="eve")
    assert (again.new, again.record, again.packs) == (False, done.record, 0)


def test_readers_get_no_bytes_of_it_under_any_name(place: Place) -> None:
    reader = ImageReader(place.store, get_dataset(place.store, "pets"))
    before = reader.read(["img-1", "img-2", "img-7"])
    assert before["img-1"] == before["img-7"] == BAD
    take(place.store)
    after = reader.read(["img-1", "img-2", "img-7"])
    assert isinstance(after["img-1"], TakenDownError)
    assert isinstance(after["img-7"], TakenDownError)
    assert after["img-2"] == before["img-2"]


def test_its_thumbnails_are_gone_from_the_store_to_the_byte_and_others_stay(place: Place) -> None:
    store = place.store
    units = [piece.unit for piece in get_dataset(store, "pets").slices]
    packs = [Pack.open(store.local(pack_key(unit))) for unit in units if store.exists(pack_key(unit))]
    webp = next(found for pack in packs if (found := pack.read("img-1")) is not None)
    others = packed(store) - {"img-1", "img-7", "z-a"}
    files = [path for path in store.workspace.rglob("*") if path.is_file()]
    assert any(webp in path.read_bytes() for path in files)
    take(store)
    assert packed(store) == others
    files = [path for path in store.workspace.rglob("*") if path.is_file()]
    assert not [path for path in files if webp in path.read_bytes()]


def test_later_snapshots_have_no_pair_with_it_and_older_ones_stay(place: Place) -> None:
    store = place.store
    before = pairs_of(store, place.snapshot)
    take(store)
    after = create_snapshot(store)
    assert after.n == place.snapshot.n + 1
    left = {pair for pair in before if not {"img-1", "img-7"} & set(pair)}
    assert len(left) == len(before) - 3
    assert pairs_of(store, after) == left
    assert pairs_of(store, after, "zoo") == {("z-b", "z-c")}
    assert pairs_of(store, place.snapshot) == before
    table = pq.read_table(wide_table(store, after, "pets"), columns=["redder.rank"])
    ranks = sorted(table["redder.rank"].drop_null().to_pylist())
    assert ranks == list(range(1, len(ranks) + 1)), "ranks are among those that are left"
    assert audit(store, every=True).ok


def test_exports_and_trainings_of_older_subsets_leave_its_pairs_out(place: Place, tmp_path: Path) -> None:
    store = place.store
    subset = create_subset(store, parse_recipe(RECIPE), place.snapshot)
    pairs = subset_pairs(store, subset)
    gone = sum(bool({"img-1", "img-7"} & {row["winner_uid"], row["loser_uid"]}) for row in pairs.to_pylist())
    assert gone
    take(store)
    report = export_subset(store, subset, tmp_path / "out", format="uids")
    assert (report.pairs, report.left_out) == (subset.rows - gone, {"taken_down": gone})
    kept, left_out = without_taken_down(store, get_dataset(store, "pets"), pairs)
    assert (kept.num_rows, left_out) == (subset.rows - gone, gone)
    assert subset_pairs(store, subset).equals(pairs), "the subset itself is what it was"


def test_an_explanation_says_that_an_image_was_taken_down(place: Place) -> None:
    store = place.store
    table = pq.read_table(wide_table(store, place.snapshot, "pets"), columns=["pair_id", "image_0_uid", "image_1_uid"])
    ids = {(row["image_0_uid"], row["image_1_uid"]): row["pair_id"] for row in table.to_pylist()}
    record = take(store).record
    after = create_snapshot(store)
    named = explain(store, after, parse_recipe(RECIPE), pair_id=ids["img-1", "img-4"])
    assert named.reason == f"its image img-1 was taken down, by dpo on {record.created[:10]} (a private person)"
    assert not named.taken
    copy = explain(store, after, parse_recipe(RECIPE), pair_id=ids["img-7", "img-10"])
    assert copy.reason == "its image img-7 has the bytes of one that was taken down"


def test_a_withdrawn_take_down_brings_the_image_and_its_pairs_back(place: Place) -> None:
    store = place.store
    before = pairs_of(store, place.snapshot)
    record = take(store).record
    create_snapshot(store)
    withdraw_flag(store, record.id, by="dpo", why="it was a drawing", door="cli")
    assert ImageReader(store, get_dataset(store, "pets")).read(["img-7"])["img-7"] == BAD
    assert pairs_of(store, create_snapshot(store)) == before
    assert [row["withdrawn_why"] for row in list_takedowns(store)] == ["it was a drawing"]
    assert find_flag(store, record.id)["withdrawn_by"] == "dpo"
    again = take(store)
    assert again.new
    assert again.record.id != record.id


def test_a_copy_that_comes_later_is_neither_scored_nor_shown(place: Place, tmp_path: Path) -> None:
    store = place.store
    take_down(store, sha256=sha256_hex(BAD), by="dpo", why="a private person", door="api")
    write(tmp_path / "late.parquet", [with_raw(Row("p", "l-a", "l-b"), jpg_0=BAD), Row("p", "l-b", "l-c")])
    ingest(store, tmp_path / "late.parquet", "late")
    score(store, "late")
    snapshot = create_snapshot(store)
    assert pairs_of(store, snapshot, "late") == {("l-b", "l-c")}
    assert not {"l-a"} & packed(store)
    scores = [member for member in snapshot.score_members if member.unit in _units(store, "late")]
    rows = [row for member in scores for row in pq.read_table(store.local(member.file)).to_pylist()]
    assert {row["status"] for row in rows if row["image_uid"] == "l-a"} == {"taken_down"}
    assert audit(store).ok


def test_an_image_that_is_taken_down_while_it_is_scored_leaves_no_thumbnail(place: Place, tmp_path: Path) -> None:
    store = place.store
    write(tmp_path / "late.parquet", [with_raw(Row("p", "l-a", "l-b"), jpg_0=BAD), Row("p", "l-b", "l-c")])
    ingest(store, tmp_path / "late.parquet", "late")
    score(store, "late", FakeCommittee(hook=lambda _: take(store) and None))
    assert packed(store) >= {"l-b", "l-c"}
    assert not {"l-a", "img-1", "img-7", "z-a"} & packed(store)


def test_a_take_down_that_was_killed_hides_the_image_and_is_finished_by_the_next(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = place.store

    def killed(*_: object) -> int:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(ranking.flags.taking, "purge_thumbnails", killed)
        with pytest.raises(KeyboardInterrupt):
            take(store)
    assert isinstance(ImageReader(store, get_dataset(store, "pets")).read(["img-1"])["img-1"], TakenDownError)
    findings = audit(store).errors
    assert {each.invariant for each in findings} == {10}
    assert any("img-1" in each.what and "take-down img-1" in each.todo for each in findings)
    done = take(store)
    assert (done.new, done.packs > 0) == (False, True)
    assert audit(store).ok


def test_what_cannot_be_taken_down_is_said_in_one_line(place: Place) -> None:
    store = place.store
    with pytest.raises(UnknownNameError, match="img-1"):
        take(store, "img1")
    with pytest.raises(UsageError, match="reason"):
        take(store, why=" ")
    with pytest.raises(UsageError, match="64 hex"):
        take_down(store, sha256="abc", by="dpo", why="x", door="cli")
    with pytest.raises(UsageError, match="one image"):
        take_down(store, "img-1", sha256="0" * 64, by="dpo", why="x", door="cli")
    assert not store.list("takedowns")


def _units(store: Store, name: str) -> set[str]:
    return {piece.unit for piece in get_dataset(store, name).slices}
