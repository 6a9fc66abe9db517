"""A slice whose pictures, copies, embeddings and views are out of the ordinary."""

import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from fake_committee import GREENER, MEAN, REDDER, FakeCommittee
from hostile_views import hostile
from pickapic_factory import Row, rows, with_raw, write
from PIL import Image

from ranking.embeddings import read_embeddings
from ranking.images.facts import FACTS_ID
from ranking.ingest import ingest
from ranking.plan import create_plan, open_slices
from ranking.settings import Settings
from ranking.store.blobs import Store
from ranking.store.commits import get_commit, is_committed
from ranking.store.snapshots import create_snapshot
from workers.engine import ScorerError, SliceReport, score_slice
from workers.engine.decoders import Decoders
from workers.scorers.base import Batch, Embeddings, View

BOTH = (REDDER, GREENER)
EMBEDDING = "embedding-fake@00000000aaaa"


def coloured(colour: tuple[int, int, int], side: int = 8) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (side, side), colour).save(out, "PNG")
    return out.getvalue()


class Seer(FakeCommittee):
    """Looks through a view for one of its scorers, and has embeddings: the picture's colour, the prompt's length."""

    embedding_ids = (EMBEDDING,)

    def __init__(self, view: View = MEAN, **options: object) -> None:
        super().__init__(**options)
        self._view = view
        self.seen: list[int] = []

    def views(self, scorer_ids: Sequence[str]) -> dict[str, tuple[View, ...]]:
        return {each: (MEAN, self._view) if each == GREENER else (MEAN,) for each in scorer_ids}

    def score(self, batch: Batch, scorer_ids: Sequence[str]) -> dict[str, np.ndarray]:
        self.seen.append(batch.images)
        return super().score(batch, scorer_ids)

    def embed(self, batch: Batch, embedding_id: str) -> Embeddings:
        lengths = np.array([[len(prompt), 1, 0] for prompt in batch.prompts])
        return Embeddings(_unit(np.stack(batch.view(MEAN))), _unit(lengths))


def _unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def decoders() -> Iterator[Decoders]:
    with Decoders(2, seconds=1.5) as found:
        yield found


def score(store: Store, committee: FakeCommittee, decoders: Decoders, **settings: object) -> SliceReport:
    plan = create_plan(store, "pets", BOTH)
    ((piece, ids),) = open_slices(store, plan)
    return score_slice(store, plan, piece, ids, committee, settings=Settings(**settings), decoders=decoders)


def statuses(store: Store, scorer_id: str, unit: str) -> dict[str, str]:
    commit = get_commit(store, scorer_id=scorer_id, unit=unit)
    table = pq.read_table(store.local(commit.file), partitioning=None)
    return dict(zip(table["image_uid"].to_pylist(), table["status"].to_pylist(), strict=True))


def forty(tmp_path: Path, store: Store, marked: bytes) -> None:
    """Forty pictures, of which img-23 is `marked`."""
    plain = [with_raw(row, jpg_0=coloured((9, i, 200))) for i, row in enumerate(rows(20, prompts=20))]
    plain = [with_raw(row, jpg_1=coloured((9, 100 + i, 90))) for i, row in enumerate(plain)]
    plain[3] = with_raw(plain[3], jpg_1=marked)
    write(tmp_path / "a.parquet", plain)
    ingest(store, tmp_path / "a.parquet", "pets")


@pytest.mark.parametrize("how", ["kill", "exit", "sleep"])
def test_a_picture_that_kills_or_holds_its_decoder_costs_its_own_score_only(
    store: Store, tmp_path: Path, decoders: Decoders, how: str
) -> None:
    forty(tmp_path, store, coloured((250, 0, 0)))
    report = score(store, Seer(hostile(how)), decoders)
    assert report.failed_by == {REDDER: {"crash": 1}, GREENER: {"crash": 1}}
    for each in (*BOTH, FACTS_ID):
        found = statuses(store, each, report.unit)
        assert {uid for uid, status in found.items() if status != "ok"} == {"img-23"} and len(found) == 40
        assert found["img-23"] == "crash"


def test_a_view_that_fails_on_a_picture_costs_the_scorers_that_look_through_it(
    store: Store, tmp_path: Path, decoders: Decoders
) -> None:
    forty(tmp_path, store, coloured((250, 0, 0)))
    report = score(store, Seer(hostile("raise")), decoders)
    assert report.failed_by == {REDDER: {}, GREENER: {"crash": 1}}
    assert statuses(store, GREENER, report.unit)["img-23"] == "crash"


def test_a_view_that_fails_on_every_picture_is_a_broken_scorer(
    store: Store, tmp_path: Path, decoders: Decoders
) -> None:
    forty(tmp_path, store, coloured((250, 0, 0)))
    with pytest.raises(ScorerError, match="ModuleNotFoundError: No module named 'no_such_module'"):
        score(store, Seer(View("no_such_module:view")), decoders)
    assert store.list("commits") == []


def test_copies_of_an_image_are_decoded_and_seen_once_and_each_gets_its_facts_and_thumbnail(
    store: Store, tmp_path: Path, decoders: Decoders
) -> None:
    same = coloured((10, 20, 30))
    pairs = [with_raw(Row(f"p{i}", f"a{i}", f"b{i}", 0, ranking=i), jpg_0=same, jpg_1=same) for i in range(5)]
    pairs.append(with_raw(Row("p", "x", "y", 0, ranking=9), jpg_0=coloured((1, 2, 3)), jpg_1=same + b"\0"))
    write(tmp_path / "a.parquet", pairs)
    ingest(store, tmp_path / "a.parquet", "pets")
    committee = Seer()
    report = score(store, committee, decoders)
    assert (report.items, report.images, committee.seen) == (12, 12, [3])
    facts = pq.read_table(store.local(get_commit(store, scorer_id=FACTS_ID, unit=report.unit).file), partitioning=None)
    assert len(set(facts["sha256"].to_pylist())) == 3 and set(facts["status"].to_pylist()) == {"ok"}


def test_embeddings_are_kept_with_the_scores_one_for_each_image_and_prompt(
    store: Store, tmp_path: Path, decoders: Decoders
) -> None:
    pairs = [
        with_raw(Row("short", "x", "y", 0, ranking=0), jpg_0=coloured((3, 4, 0)), jpg_1=coloured((0, 0, 9))),
        with_raw(Row("a longer one", "x", "torn", 0, ranking=1), jpg_0=coloured((3, 4, 0)), jpg_1=b"no"),
        with_raw(Row("never shown", "torn", "torn2", 0, ranking=2), jpg_0=b"no", jpg_1=b"no"),
    ]
    write(tmp_path / "a.parquet", pairs)
    ingest(store, tmp_path / "a.parquet", "pets")
    report = score(store, Seer(), decoders)
    snapshot = create_snapshot(store)
    images = read_embeddings(store, snapshot, "pets", "fake", kind="image")
    assert images.keys == ("x", "y") and images.missing == {"torn": "corrupt", "torn2": "corrupt"}
    assert np.array_equal(images.matrix, np.array([[0.6, 0.8, 0], [0, 0, 1]], np.float16))
    prompts = read_embeddings(store, snapshot, "pets", "fake", kind="prompt")
    assert list(prompts.missing.values()) == ["corrupt"] and len(prompts.keys) == 2
    assert prompts.matrix[0].tolist() == _unit(np.array([[5, 1, 0]]))[0].astype(np.float16).tolist()
    commit = get_commit(store, scorer_id=EMBEDDING, unit=report.unit)
    assert commit.created <= get_commit(store, scorer_id=REDDER, unit=report.unit).created


def test_embeddings_can_be_switched_off_and_belong_to_the_scorer_with_their_fingerprint(
    store: Store, tmp_path: Path, decoders: Decoders
) -> None:
    forty(tmp_path, store, coloured((1, 1, 1)))
    plan = create_plan(store, "pets", (GREENER,))
    ((piece, ids),) = open_slices(store, plan)
    score_slice(store, plan, piece, ids, Seer(), decoders=decoders)
    report = score(store, Seer(), decoders, embeddings=False)
    assert report.committed == (REDDER,) and not is_committed(store, scorer_id=EMBEDDING, unit=report.unit)


@pytest.mark.parametrize(("factor", "message"), [(2.0, "has the length 2.0000"), (1.0, "for 40 images")])
def test_embeddings_that_are_not_of_length_one_or_of_another_number_are_a_broken_scorer(
    store: Store, tmp_path: Path, decoders: Decoders, factor: float, message: str
) -> None:
    class Wrong(Seer):
        def embed(self, batch: Batch, embedding_id: str) -> Embeddings:
            right = super().embed(batch, embedding_id)
            return Embeddings(factor * right.image[: None if factor > 1 else -1], right.prompt)

    forty(tmp_path, store, coloured((1, 1, 1)))
    with pytest.raises(ScorerError, match=message):
        score(store, Wrong(), decoders)
    assert store.list("commits") == []


def test_an_embedding_that_is_not_finite_is_a_status(store: Store, tmp_path: Path, decoders: Decoders) -> None:
    class Overflowing(Seer):
        def embed(self, batch: Batch, embedding_id: str) -> Embeddings:
            right = super().embed(batch, embedding_id)
            right.image[np.stack(batch.view(MEAN))[:, 0] > 200] = np.inf
            return right

    forty(tmp_path, store, coloured((250, 0, 0)))
    score(store, Overflowing(), decoders)
    images = read_embeddings(store, create_snapshot(store), "pets", "fake", kind="image")
    assert images.missing == {"img-23": "non_finite"} and len(images.keys) == 39


def test_a_scorer_that_gives_every_image_the_same_is_named_in_the_report(
    store: Store, tmp_path: Path, decoders: Decoders
) -> None:
    class Constant(FakeCommittee):
        def score(self, batch: Batch, scorer_ids: Sequence[str]) -> dict[str, np.ndarray]:
            return super().score(batch, scorer_ids) | {REDDER: np.full(len(batch), 0.5)}

    forty(tmp_path, store, coloured((1, 1, 1)))
    report = score(store, Constant(), decoders)
    assert report.constant == (REDDER,) and f"the same score for every image by {REDDER}" in report.line()


def test_batches_are_of_the_size_that_suits_the_device(store: Store, tmp_path: Path, decoders: Decoders) -> None:
    forty(tmp_path, store, coloured((1, 1, 1)))
    committee = Seer()
    committee.batch = 16
    score(store, committee, decoders)
    assert committee.seen == [16, 16, 8]
