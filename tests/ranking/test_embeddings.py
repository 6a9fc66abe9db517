"""Embeddings are committed like scores, checked, and read back as matrices; nothing takes them for a scorer."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from embedded import CLIP, embed_all, table_of, vector_of
from pickapic_factory import rows, write
from scored import score_all, score_table

from ranking import duck, plan
from ranking.audit import audit
from ranking.datasets import get_dataset
from ranking.embeddings import embedded_units, embedding_names, read_embeddings
from ranking.errors import StoreError, UnknownNameError, UsageError
from ranking.features.fields import fields
from ranking.features.wide import wide_table
from ranking.ingest import ingest
from ranking.schema import EMBEDDINGS, MISSING
from ranking.store.blobs import Store
from ranking.store.commits import commit_embeddings, commit_scores, get_commit, list_commits
from ranking.store.shards import vectors_of
from ranking.store.snapshots import create_snapshot

UNIT = "00112233445566aa"
ITEMS = pa.table({"image_uid": ["b", "a", "b", "c"], "prompt_id": ["p", "p", "q", "q"]})


GOOD = table_of(
    ["image", "image", "image", "prompt", "prompt"],
    ["b", "a", "c", "p", "q"],
    [[0.6, 0.8], None, [0.0, -1.0], [1.0, 0.0], [-0.8, 0.6]],
)


def put(store: Store, table: pa.Table, *, embedding_id: str = CLIP) -> bool:
    return commit_embeddings(store, embedding_id=embedding_id, unit=UNIT, table=table, attempt="try", items=ITEMS)


def test_embeddings_are_committed_once_by_the_protocol_of_scores_as_half_floats(store: Store) -> None:
    assert put(store, GOOD) and not put(store, GOOD)
    marker = get_commit(store, scorer_id=CLIP, unit=UNIT)
    assert (marker.rows, marker.n_bad) == (5, 1)
    kept = pq.read_table(store.local(marker.file), partitioning=None)
    assert kept.equals(GOOD) and kept.schema.field("embedding").type.value_type == pa.float16()


def test_duckdb_reads_them_too(store: Store) -> None:
    put(store, GOOD)
    scan = duck.parquet_scan([store.local(get_commit(store, scorer_id=CLIP, unit=UNIT).file)])
    with duck.connect() as con:
        read = dict(con.execute(f"SELECT key, embedding FROM {scan}").fetchall())
    assert read == dict(zip(GOOD["key"].to_pylist(), GOOD["embedding"].to_pylist(), strict=True))


@pytest.mark.parametrize(
    ("kinds", "keys", "vectors", "reason"),
    [
        (None, ["a", "b", "c", "p", "q"], None, "order of first appearance"),
        (["prompt", "prompt", "image", "image", "image"], ["p", "q", "b", "a", "c"], None, "order of first appearance"),
        (None, None, [[1.0], None, [0.0, -1.0], [1.0, 0.0], [0.0, 1.0]], "2 dimensions, 1 and 2"),
        (None, None, [[0.6, 0.7], None, [0.0, -1.0], [1.0, 0.0], [0.0, 1.0]], "length 0.92"),
        (None, None, [[1.002, 0.0], None, [0.0, -1.0], [1.0, 0.0], [0.0, 1.0]], "length 1.00"),
        (None, None, [[float("nan"), 1.0], None, [0.0, -1.0], [1.0, 0.0], [0.0, 1.0]], "not finite"),
        (None, None, [[], None, [], [], []], "no dimension"),
    ],
)
def test_what_is_no_embedding_of_the_slice_is_refused(
    store: Store,
    kinds: list[str] | None,
    keys: list[str] | None,
    vectors: list[list[float] | None] | None,
    reason: str,
) -> None:
    given = [*(GOOD[name].to_pylist() for name in ("kind", "key", "embedding"))]
    table = table_of(kinds or given[0], keys or given[1], vectors or given[2])
    with pytest.raises(StoreError, match=reason):
        put(store, table)
    assert list_commits(store) == []


def test_a_vector_without_status_ok_or_with_a_hole_is_refused(store: Store) -> None:
    wrong = GOOD.set_column(3, "status", pa.array(["ok", "missing", "ok", "ok", "crash"]))
    with pytest.raises(StoreError, match="without status ok"):
        put(store, wrong)
    holed = pa.array([[1.0, None], None, [1.0, 0.0], [1.0, 0.0], [1.0, 0.0]], pa.list_(pa.float64()))
    with pytest.raises(StoreError, match="a null in it"):
        put(store, GOOD.set_column(2, "embedding", holed.cast(EMBEDDINGS.field(2).type)))


@pytest.mark.parametrize("dimension", [8, 512, 768, 1152, 3584])
def test_vectors_normalised_in_float32_pass_after_rounding(store: Store, dimension: int) -> None:
    drawn = np.random.default_rng(0).standard_normal((5, dimension)).astype(np.float32)
    drawn[1] = np.eye(dimension)[3] + 1e-6  # nearly all of it in one place, the rest far below float16's steps
    vectors = (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float16)
    assert put(store, table_of(*(GOOD[name].to_pylist() for name in ("kind", "key")), list(vectors)))


def test_no_id_is_taken_for_another_kind(store: Store) -> None:
    with pytest.raises(UsageError, match="no embedding"):
        put(store, GOOD, embedding_id="clip@0123456789ab")
    with pytest.raises(UsageError, match=r"no scorer.*kept for embeddings"):
        commit_scores(store, scorer_id=CLIP, unit=UNIT, table=score_table(["a"], ["p"], [1.0]), attempt="try")


@pytest.fixture
def scored(store: Store, tmp_path: Path) -> Store:
    """Twelve pairs in slices of five items, scored once."""
    ingest(store, write(tmp_path / "a.parquet", rows(12)), "pets", slice_items=5)
    score_all(store, "pets", {"sharp@00000000": len})
    return store


def keys_of(store: Store, column: str) -> list[str]:
    paths = get_dataset(store, "pets").items_paths(store)
    return pc.unique(pa.concat_tables([pq.read_table(path, partitioning=None) for path in paths])[column]).to_pylist()


def test_embeddings_come_back_as_a_matrix_with_a_row_for_each_image_or_prompt(scored: Store) -> None:
    embed_all(scored)
    snapshot = create_snapshot(scored)
    assert embedding_names(snapshot) == {"clip-l14": CLIP}
    for kind, column in (("image", "image_uid"), ("prompt", "prompt_id")):
        found = read_embeddings(scored, snapshot, "pets", "clip-l14", kind=kind)
        assert list(found.keys) == keys_of(scored, column)
        assert found.matrix.dtype == np.float16 and found.missing == {}
        np.testing.assert_array_equal(found.matrix, [vector_of(key) for key in found.keys])


def test_chosen_keys_come_in_the_order_asked_for_and_what_lacks_is_said(scored: Store) -> None:
    images = keys_of(scored, "image_uid")
    embed_all(scored, absent={0: {images[0]}}, units=2)
    snapshot = create_snapshot(scored)
    asked = [images[3], "stranger", images[0], images[3], images[1]]
    found = read_embeddings(scored, snapshot, "pets", "clip-l14", kind="image", keys=asked)
    assert found.keys == (images[3], images[1])
    np.testing.assert_array_equal(found.matrix, [vector_of(key) for key in found.keys])
    assert found.missing == {"stranger": "unscored", images[0]: MISSING}
    nothing = read_embeddings(scored, snapshot, "pets", "clip-l14", kind="image", keys=[])
    assert nothing.keys == () and len(nothing.matrix) == 0 and nothing.missing == {}


def test_a_key_that_one_slice_could_not_embed_is_taken_from_another(scored: Store) -> None:
    prompts = keys_of(scored, "prompt_id")
    job = plan.create_plan(scored, "pets", [CLIP])
    shown = [set(plan.read_items(scored, job, piece)["prompt_id"].to_pylist()) for piece in job.slices]
    shared = next(prompt for prompt in prompts if sum(prompt in each for each in shown) > 1)
    first = next(index for index, each in enumerate(shown) if shared in each)
    embed_all(scored, absent={first: {shared}})
    snapshot = create_snapshot(scored)
    found = read_embeddings(scored, snapshot, "pets", "clip-l14", kind="prompt")
    assert shared in found.keys and found.missing == {}


def test_units_stream_what_the_matrix_holds(scored: Store) -> None:
    embed_all(scored, absent={0: {keys_of(scored, "image_uid")[0]}})
    snapshot = create_snapshot(scored)
    whole = read_embeddings(scored, snapshot, "pets", "clip-l14", kind="image")
    streamed, units = {}, 0
    for unit in embedded_units(scored, snapshot, "pets", "clip-l14", kind="image"):
        streamed |= dict(zip(unit.keys, unit.matrix, strict=True))
        units += 1
    assert units == len(get_dataset(scored, "pets").slices)
    assert set(streamed) == set(whole.keys)
    for key, row in zip(whole.keys, whole.matrix, strict=True):
        np.testing.assert_array_equal(streamed[key], row)


def test_of_two_versions_the_fuller_stands_and_an_unknown_name_gets_the_near_ones(scored: Store) -> None:
    embed_all(scored, units=1)
    embed_all(scored, embedding_id="embedding-clip-l14@ffffffffffff", units=2)
    snapshot = create_snapshot(scored)
    assert embedding_names(snapshot) == {"clip-l14": "embedding-clip-l14@ffffffffffff"}
    with pytest.raises(UnknownNameError, match="clip-l14"):
        read_embeddings(scored, snapshot, "pets", "clip-l41", kind="image")


def test_nothing_takes_an_embedding_for_a_scorer(scored: Store) -> None:
    before = create_snapshot(scored)
    embed_all(scored)
    snapshot = create_snapshot(scored)
    assert snapshot.n == before.n + 1 and snapshot.scorers == before.scorers
    assert snapshot.score_members == before.score_members
    assert not any("embedding" in name for name in fields(scored, snapshot, "pets"))
    assert not any("embedding" in name for name in pq.read_schema(wide_table(scored, snapshot, "pets")).names)


def test_the_audit_counts_embeddings_and_finds_one_that_is_too_long(scored: Store) -> None:
    embed_all(scored)
    report = audit(scored)
    assert report.errors == ()
    assert report.looked[2]["files of embeddings"] == len(get_dataset(scored, "pets").slices)
    commit = next(commit for commit in list_commits(scored) if commit.scorer_id == CLIP)
    table = pq.read_table(scored.local(commit.file), partitioning=None)
    vectors = [vector * 2 for vector in vectors_of(table["embedding"].combine_chunks())]
    longer = table.set_column(2, "embedding", pa.array(vectors, EMBEDDINGS.field(2).type))
    pq.write_table(longer, scored.local(commit.file), use_dictionary=False, write_page_checksum=True)
    found = {(error.invariant, error.key) for error in audit(scored).errors}
    assert (3, commit.file) in found
