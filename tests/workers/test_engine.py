"""The engine: from bytes by pointer to commits."""

import io
import socket
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fake_committee import GREENER, MEAN, REDDER, FakeCommittee
from pickapic_factory import Row, jpeg, rows, with_raw, write
from PIL import Image

from ranking.datasets import Dataset
from ranking.errors import SourceError, StoreError
from ranking.images import ImageError
from ranking.images.facts import FACTS_ID
from ranking.images.fetch import UrlFetcher
from ranking.images.thumbnails import Pack, pack_key
from ranking.ingest import ingest
from ranking.names import sha256_hex
from ranking.plan import create_plan, open_slices, read_items
from ranking.schema import FACTS, SCORES
from ranking.settings import Settings
from ranking.store.blobs import Store
from ranking.store.commits import get_commit, list_commits
from workers.engine import ScorerError, score_slice
from workers.engine.decoders import Decoders
from workers.engine.decoding import Seen, Wanted
from workers.engine.reader import read_pieces
from workers.engine.report import Stopwatch
from workers.engine.scoring import score_batch
from workers.scorers.base import Batch, View

BOTH = (REDDER, GREENER)


def committed(store: Store, scorer_id: str) -> dict[tuple[str, str], tuple[float | None, str]]:
    """Every committed row of a scorer: (image, prompt id) to (score, status)."""
    found: dict[tuple[str, str], tuple[float | None, str]] = {}
    for commit in list_commits(store):
        if commit.scorer_id == scorer_id:
            for row in pq.read_table(store.local(commit.file), partitioning=None).to_pylist():
                key = (row["image_uid"], row["prompt_id"])
                assert key not in found
                found[key] = (row["score"], row["status"])
    return found


def score_all(store: Store, dataset: str, committee: FakeCommittee) -> list:
    plan = create_plan(store, dataset, BOTH)
    return [score_slice(store, plan, piece, ids, committee) for piece, ids in open_slices(store, plan)]


def test_every_item_gets_the_score_of_its_own_picture_and_prompt(store: Store, dataset: Dataset) -> None:
    reports = score_all(store, "pets", FakeCommittee())
    plan = create_plan(store, "pets", BOTH)
    expected = {}
    for piece in plan.slices:
        for item in read_items(store, plan, piece).to_pylist():
            red = np.asarray(Image.open(io.BytesIO(jpeg(item["image_uid"]))), np.float64)[..., 0].mean()
            expected[item["image_uid"], item["prompt_id"]] = red + len(item["prompt"])
    found = committed(store, REDDER)
    assert found.keys() == expected.keys() and len(found) == dataset.n_items
    assert all(found[key] == (pytest.approx(expected[key], rel=1e-6), "ok") for key in expected)
    assert sum(report.items for report in reports) == dataset.n_items
    assert not open_slices(store, plan)


def test_a_picture_under_two_prompts_is_decoded_once_and_scored_with_both(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "a.parquet", [Row("short", "x", "y", 0), Row("a longer prompt", "x", "z", 1, ranking=1)])
    ingest(store, tmp_path / "a.parquet", "pets")
    decoded: list[object] = []
    real = Decoders.examine_all

    def noting(self: Decoders, pictures: Iterable, wanted: Wanted) -> Iterator:
        return real(self, (decoded.append(shown) or (shown, data) for shown, data in pictures), wanted)

    monkeypatch.setattr(Decoders, "examine_all", noting)
    (report,) = score_all(store, "pets", FakeCommittee())
    assert (report.items, report.images, len(decoded)) == (4, 3, 3)
    scores = sorted(score for (uid, _), (score, _) in committed(store, REDDER).items() if uid == "x")
    assert scores[1] - scores[0] == pytest.approx(len("a longer prompt") - len("short"), abs=1e-3)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (jpeg("torn")[:200], "corrupt"),
        (b"<html>not found</html>", "corrupt"),
        (b"GIF89a" + bytes(20), "corrupt"),
        (None, "missing"),
        (b"", "missing"),
    ],
)
def test_a_picture_that_does_not_decode_costs_its_rows_only(
    store: Store, tmp_path: Path, data: bytes | None, status: str
) -> None:
    bad, *good = rows(4, prompts=2)
    write(tmp_path / "a.parquet", [with_raw(bad, jpg_0=data), *good])
    ingest(store, tmp_path / "a.parquet", "pets", skip_bad_rows=True)
    (report,) = score_all(store, "pets", FakeCommittee())
    found = committed(store, REDDER)
    assert [value for (uid, _), value in found.items() if uid == "img-0"] == [(None, status)]
    assert sum(state == "ok" for _, state in found.values()) == report.items - 1
    assert report.failed_by == {REDDER: {status: 1}, GREENER: {status: 1}}
    assert get_commit(store, scorer_id=REDDER, unit=report.unit).n_bad == 1


@pytest.mark.usefixtures("dataset")
def test_numbers_that_are_not_finite_become_null_with_a_status_for_that_scorer_only(store: Store) -> None:
    class Spoiled(FakeCommittee):
        def score(self, batch: Batch, scorer_ids: Sequence[str]) -> dict[str, np.ndarray]:
            scores = super().score(batch, scorer_ids)
            scores[REDDER][:3] = [np.nan, -np.inf, 1e300]  # the last is too large for float32
            return scores

    plan = create_plan(store, "pets", BOTH)
    report = score_slice(store, plan, plan.slices[0], BOTH, Spoiled())
    assert report.failed_by == {REDDER: {"non_finite": 3}, GREENER: {}}
    assert sorted(state for _, state in committed(store, REDDER).values()) == ["non_finite"] * 3 + ["ok"] * 2
    assert all(score is None for score, state in committed(store, REDDER).values() if state != "ok")


@pytest.mark.usefixtures("dataset")
def test_a_commit_that_is_there_already_wins_and_is_counted(store: Store) -> None:
    plan = create_plan(store, "pets", BOTH)
    first = score_slice(store, plan, plan.slices[0], (REDDER,), FakeCommittee(), attempt="first")
    second = score_slice(store, plan, plan.slices[0], BOTH, FakeCommittee(), attempt="second")
    assert (first.committed, second.committed, second.lost) == ((REDDER,), (GREENER,), (REDDER,))
    assert get_commit(store, scorer_id=REDDER, unit=plan.slices[0].unit).attempt == "first"


def test_progress_counts_every_item_also_those_that_failed(store: Store, tmp_path: Path) -> None:
    bad, *good = rows(4, prompts=2)
    write(tmp_path / "a.parquet", [with_raw(bad, jpg_0=b"no"), *good])
    ingest(store, tmp_path / "a.parquet", "pets")
    plan = create_plan(store, "pets", BOTH)
    seen: list[int] = []
    report = score_slice(store, plan, plan.slices[0], BOTH, FakeCommittee(), seen.append)
    assert sum(seen) == report.items == plan.slices[0].rows


@pytest.mark.usefixtures("dataset")
def test_a_source_that_is_gone_fails_the_slice_and_commits_nothing(store: Store, tmp_path: Path) -> None:
    (tmp_path / "source" / "part-0.parquet").rename(tmp_path / "elsewhere")
    plan = create_plan(store, "pets", BOTH)
    with pytest.raises(SourceError, match="is gone"):
        score_slice(store, plan, plan.slices[0], BOTH, FakeCommittee())
    assert not list_commits(store)


def pictures(n: int) -> list[dict[View, Seen]]:
    return [{MEAN: np.array([i, 0, 0], np.float64)} for i in range(n)]


def test_one_picture_that_a_scorer_cannot_take_is_found_by_halving() -> None:
    def refuse_odd_one(prompts: list[str]) -> None:
        if "odd" in prompts:
            raise ValueError("no")

    committee = FakeCommittee(hook=refuse_odd_one)
    scored = score_batch(committee, BOTH, pictures(8), ["p"] * 5 + ["odd"] + ["p"] * 2)
    assert scored.broken == [5]
    assert np.isnan(scored.scores[REDDER]).tolist() == [i == 5 for i in range(8)]
    assert scored.scores[REDDER][6] == 7  # red 6, and a prompt of one letter
    assert len(committee.calls) <= 7  # 8, 4, 4, 2, 1, 1, 2


def test_a_batch_that_is_too_large_for_the_device_goes_through_in_parts() -> None:
    def only_three(prompts: list[str]) -> None:
        if len(prompts) > 3:
            raise MemoryError("out of memory")

    scored = score_batch(FakeCommittee(hook=only_three), BOTH, pictures(10), ["p"] * 10)
    assert scored.broken == [] and scored.scores[REDDER].tolist() == [i + 1 for i in range(10)]


@pytest.mark.usefixtures("dataset")
def test_a_scorer_that_fails_on_everything_fails_the_attempt_and_commits_nothing(store: Store) -> None:
    def broken(prompts: list[str]) -> None:
        raise RuntimeError(f"CUDA error: device-side assert triggered on {len(prompts)} prompts")

    plan = create_plan(store, "pets", BOTH)
    with pytest.raises(ScorerError, match="device-side assert"):
        score_slice(store, plan, plan.slices[0], BOTH, FakeCommittee(hook=broken))
    assert not list_commits(store)


def test_a_device_that_dies_on_the_way_does_not_fill_the_store_with_failures(store: Store, tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", rows(60, prompts=60))
    ingest(store, tmp_path / "a.parquet", "pets")
    plan = create_plan(store, "pets", BOTH)
    asked = 0

    def dies(prompts: list[str]) -> None:
        nonlocal asked
        asked += len(prompts)
        if asked > 64:
            raise RuntimeError("CUDA error: unspecified launch failure")

    with pytest.raises(ScorerError):
        score_slice(store, plan, plan.slices[0], BOTH, FakeCommittee(hook=dies))
    assert not list_commits(store)


@pytest.mark.parametrize("wrong", [np.zeros((2, 1)), np.zeros(3), np.float32(1)])
def test_scores_of_another_shape_are_refused(wrong: np.ndarray) -> None:
    class Misshapen(FakeCommittee):
        def score(self, batch: Batch, scorer_ids: Sequence[str]) -> dict[str, np.ndarray]:
            return super().score(batch, scorer_ids) | {REDDER: wrong}

    with pytest.raises(ScorerError, match="shape"):
        score_batch(Misshapen(), (REDDER,), pictures(2), ["p", "p"])


def test_an_empty_prompt_list_is_an_empty_answer() -> None:
    scored = score_batch(FakeCommittee(), BOTH, [], [])
    assert scored.scores[REDDER].shape == (0,) and scored.broken == []


def test_a_picture_that_one_view_cannot_show_costs_the_score_of_who_looks_through_it() -> None:
    pair = pictures(2)
    pair[0][MEAN] = "too_large"
    scored = score_batch(FakeCommittee(), (REDDER,), pair, ["p", "p"])
    assert scored.unseen == {REDDER: {0: "too_large"}} and scored.scores[REDDER][1] == 2


@pytest.mark.usefixtures("dataset")
def test_the_shards_have_exactly_the_columns_that_the_snapshot_joins(store: Store) -> None:
    score_all(store, "pets", FakeCommittee())
    schemas = {commit.scorer_id: pq.read_schema(store.local(commit.file)) for commit in list_commits(store)}
    assert schemas == {REDDER: SCORES, GREENER: SCORES, FACTS_ID: FACTS}


def facts_of_unit(store: Store, unit: str) -> list[dict]:
    commit = get_commit(store, scorer_id=FACTS_ID, unit=unit)
    return pq.read_table(store.local(commit.file), partitioning=None).to_pylist()


def test_the_facts_of_each_image_are_committed_in_order_of_first_appearance(store: Store, tmp_path: Path) -> None:
    first, second, third = (
        with_raw(Row("a", "torn", "x", 0, ranking=0), jpg_0=jpeg("torn")[:200]),
        with_raw(Row("b", "x", "none", 0, ranking=1), jpg_1=None),
        Row("c", "y", "x", 0, ranking=2),
    )
    write(tmp_path / "a.parquet", [first, second, third])
    ingest(store, tmp_path / "a.parquet", "pets")
    (report,) = score_all(store, "pets", FakeCommittee())
    facts = facts_of_unit(store, report.unit)
    assert [(row["image_uid"], row["status"]) for row in facts] == [
        ("torn", "corrupt"),
        ("x", "ok"),
        ("none", "missing"),
        ("y", "ok"),
    ]
    x = {"bytes": len(jpeg("x")), "sha256": sha256_hex(jpeg("x")), "width": 8, "height": 8, "phash": 0}
    assert facts[1] == x | {"image_uid": "x", "status": "ok"}
    assert (facts[0]["bytes"], facts[0]["sha256"]) == (200, sha256_hex(jpeg("torn")[:200]))
    assert [facts[0][name] for name in ("width", "height", "phash")] == [None] * 3
    assert [facts[2][name] for name in ("bytes", "sha256", "width")] == [None] * 3
    assert get_commit(store, scorer_id=FACTS_ID, unit=report.unit).n_bad == 2


@pytest.mark.usefixtures("dataset")
def test_facts_and_thumbnails_are_made_once_for_a_unit(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = create_plan(store, "pets", BOTH)
    score_slice(store, plan, plan.slices[0], (REDDER,), FakeCommittee(), attempt="first")
    kept = store.get(pack_key(plan.slices[0].unit))

    asked: list[Wanted] = []
    real = Decoders.examine_all

    def noting(self: Decoders, pictures: Iterable, wanted: Wanted) -> Iterator:
        asked.append(wanted)
        return real(self, pictures, wanted)

    monkeypatch.setattr(Decoders, "examine_all", noting)
    score_slice(store, plan, plan.slices[0], (GREENER,), FakeCommittee(), attempt="second")
    assert get_commit(store, scorer_id=FACTS_ID, unit=plan.slices[0].unit).attempt == "first"
    assert store.get(pack_key(plan.slices[0].unit)) == kept
    assert asked == [Wanted((MEAN,), facts=False, thumbnails=False)]


def test_the_thumbnails_of_a_unit_are_packed_into_one_file(store: Store, tmp_path: Path) -> None:
    bad, *good = rows(100, prompts=5)
    write(tmp_path / "a.parquet", [with_raw(bad, jpg_0=b"no"), *good])
    ingest(store, tmp_path / "a.parquet", "pets")
    (report,) = score_all(store, "pets", FakeCommittee())
    assert store.list("thumbs") == [pack_key(report.unit)]
    pack = Pack.open(store.local(pack_key(report.unit)))
    assert pack.rows.keys() == {f"img-{i}" for i in range(1, 105)}
    picture = Image.open(io.BytesIO(pack.read("img-77") or b""))
    assert (picture.format, picture.size) == ("WEBP", (8, 8))
    assert np.array_equal(np.asarray(picture), np.asarray(Image.open(io.BytesIO(jpeg("img-77")))))
    assert pack.read("img-0") is None and list(store.tmp().iterdir()) == []


@pytest.mark.usefixtures("dataset")
def test_thumbnails_may_be_switched_off(store: Store) -> None:
    plan = create_plan(store, "pets", BOTH)
    score_slice(store, plan, plan.slices[0], BOTH, FakeCommittee(), settings=Settings(thumbnails=False))
    assert store.list("thumbs") == [] and len(list_commits(store)) == 3


@pytest.mark.usefixtures("dataset")
def test_thumbnails_that_cannot_be_kept_cost_no_scores(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = Store.put_file

    def full(self: Store, key: str, path: Path) -> bool:
        if key.startswith("thumbs/"):
            raise StoreError("the disk is full")
        return real(self, key, path)

    monkeypatch.setattr(Store, "put_file", full)
    score_all(store, "pets", FakeCommittee())
    assert "could not be kept: the disk is full" in caplog.text
    plan = create_plan(store, "pets", BOTH)
    assert not open_slices(store, plan) and store.list("thumbs") == [] and list(store.tmp().iterdir()) == []


@pytest.mark.usefixtures("dataset")
def test_a_scorer_that_fails_leaves_no_facts_and_no_thumbnails(store: Store) -> None:
    def broken(prompts: list[str]) -> None:
        raise RuntimeError("no")

    plan = create_plan(store, "pets", BOTH)
    with pytest.raises(ScorerError):
        score_slice(store, plan, plan.slices[0], BOTH, FakeCommittee(hook=broken))
    assert (list_commits(store), store.list("thumbs"), list(store.tmp().iterdir())) == ([], [], [])


def test_pieces_end_by_count_or_bytes_so_that_large_images_do_not_pile_up() -> None:
    class Lying:
        def read_each(self, items: pa.Table) -> Iterator[tuple[str, bytes | None]]:
            for uid in items["image_uid"].to_pylist():
                yield uid, bytes(11_000_000) if uid.startswith("large") else b"x"

    uids = [f"small-{i}" for i in range(70)] + [f"large-{i}" for i in range(7)]
    pieces = list(read_pieces(Lying(), pa.table({"image_uid": uids}), Stopwatch()))
    assert [len(piece.images) for piece in pieces] == [64, 6 + 3, 3, 1]
    assert [uid for piece in pieces for uid in piece.images] == uids
    assert [row for piece in pieces for rows in piece.rows.values() for row in rows] == list(range(77))


def test_images_in_files_and_behind_addresses_are_scored_and_what_is_not_had_is_a_status(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "red.jpg").write_bytes(jpeg("red"))
    places = ["red.jpg", "absent.jpg", "https://a.example/good", "https://a.example/gone", "https://b.example/big"]
    csv = "prompt,image_0,image_1,label\n" + "".join(f"p,{place},red.jpg,0\n" for place in places[1:])
    (tmp_path / "pairs.csv").write_text(csv)
    ingest(store, tmp_path / "pairs.csv", "pets")

    class Web(UrlFetcher):
        def __call__(self, url: str) -> bytes:
            if url.endswith("good"):
                return jpeg("good")
            raise ImageError("not to be had", status="too_large" if url.endswith("big") else "missing")

    monkeypatch.setattr("ranking.images.fetch.UrlFetcher", Web)
    settings = Settings(image_urls=True, image_hosts="a.example, b.example")
    plan = create_plan(store, "pets", BOTH)
    report = score_slice(store, plan, plan.slices[0], BOTH, FakeCommittee(), settings=settings)
    assert report.failed_by == {REDDER: {"missing": 2, "too_large": 1}, GREENER: {"missing": 2, "too_large": 1}}
    assert sorted(row["status"] for row in facts_of_unit(store, report.unit)) == ["missing"] * 2 + ["ok"] * 2 + [
        "too_large"
    ]
    assert [line.split(" (")[0] for line in caplog.messages] == ["no image from a.example", "no image from b.example"]


def test_without_leave_no_address_is_fetched(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pairs.csv").write_text("prompt,image_0,image_1,label\np,https://a.example/1,https://a.example/2,0\n")
    ingest(store, tmp_path / "pairs.csv", "pets")
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: pytest.fail("a name was looked up"))
    (report,) = score_all(store, "pets", FakeCommittee())
    assert report.failed_by == {REDDER: {"missing": 2}, GREENER: {"missing": 2}}
