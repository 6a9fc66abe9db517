"""The engine: from bytes by pointer to commits."""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fake_committee import GREENER, REDDER, FakeCommittee
from pickapic_factory import Row, jpeg, rows, with_raw, write
from PIL import Image

from ranking.datasets import Dataset
from ranking.errors import SourceError
from ranking.ingest import ingest
from ranking.plan import create_plan, open_slices, read_items
from ranking.store.blobs import Store
from ranking.store.commits import get_commit, list_commits
from workers.engine import ScorerError, score_slice
from workers.engine.scoring import score_batch

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
    decoded: list[bytes | None] = []
    real = __import__("ranking.images", fromlist=["decode_rgb"]).decode_rgb
    monkeypatch.setattr("workers.engine.decoder.decode_rgb", lambda data: decoded.append(data) or real(data))
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
        def score(self, images: list[Image.Image], prompts: list[str]) -> dict[str, np.ndarray]:
            scores = super().score(images, prompts)
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


def pictures(n: int) -> list[Image.Image]:
    return [Image.new("RGB", (2, 2), (i, 0, 0)) for i in range(n)]


def test_one_picture_that_a_scorer_cannot_take_is_found_by_halving() -> None:
    def refuse_odd_one(prompts: list[str]) -> None:
        if "odd" in prompts:
            raise ValueError("no")

    committee = FakeCommittee(hook=refuse_odd_one)
    scores, failed = score_batch(committee, BOTH, pictures(8), ["p"] * 5 + ["odd"] + ["p"] * 2)
    assert failed == [5]
    assert np.isnan(scores[REDDER]).tolist() == [i == 5 for i in range(8)]
    assert scores[REDDER][6] == 7  # red 6, and a prompt of one letter
    assert len(committee.calls) <= 7  # 8, 4, 4, 2, 1, 1, 2


def test_a_batch_that_is_too_large_for_the_device_goes_through_in_parts() -> None:
    def only_three(prompts: list[str]) -> None:
        if len(prompts) > 3:
            raise MemoryError("out of memory")

    scores, failed = score_batch(FakeCommittee(hook=only_three), BOTH, pictures(10), ["p"] * 10)
    assert failed == [] and scores[REDDER].tolist() == [i + 1 for i in range(10)]


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
        def score(self, images: list[Image.Image], prompts: list[str]) -> dict[str, np.ndarray]:
            return super().score(images, prompts) | {REDDER: wrong}

    with pytest.raises(ScorerError, match="shape"):
        score_batch(Misshapen(), (REDDER,), pictures(2), ["p", "p"])


def test_an_empty_prompt_list_is_an_empty_answer() -> None:
    scores, failed = score_batch(FakeCommittee(), BOTH, [], [])
    assert scores[REDDER].shape == (0,) and failed == []


@pytest.mark.usefixtures("dataset")
def test_the_shards_have_exactly_the_columns_that_the_snapshot_joins(store: Store) -> None:
    score_all(store, "pets", FakeCommittee())
    for commit in list_commits(store):
        assert pq.read_schema(store.local(commit.file)).types == [
            pa.string(),
            pa.string(),
            pa.float32(),
            pa.string(),
        ]
