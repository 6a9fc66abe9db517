"""What is exported comes back bit for bit, whatever the form and the format."""

import csv
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pickapic_factory import Row, write
from scored import score_all

from ranking import plan
from ranking.datasets import Dataset
from ranking.errors import StoreError, UnknownNameError, UsageError
from ranking.exchange.exports import export_scores
from ranking.exchange.imports import import_scores
from ranking.ingest import ingest
from ranking.names import check_scorer_id, scorer_name
from ranking.schema import CRASH, NON_FINITE, OK, SCORES
from ranking.store.blobs import Store
from ranking.store.commits import commit_scores, list_commits
from ranking.store.snapshots import Snapshot, create_snapshot

HARD = np.array(
    [0.1, 1 / 3, -0.0, 1.4e-45, 3.4028235e38, 16777216, 1.1754944e-38, -123456.79, 5e-39, 0.3, 2 / 3, 8388608.5, -1e-7],
    np.float32,
)
"""Numbers that a careless printer or reader changes."""


@pytest.fixture
def scored(store: Store, dataset: Dataset) -> Snapshot:
    """All but the last slice scored with HARD, one crash and one that is not finite among them."""
    job = plan.create_plan(store, dataset.name, ["taste@00000000"])
    done = 0
    for piece in job.slices[:-1]:
        items = plan.read_items(store, job, piece)
        values = np.resize(np.roll(HARD, -done), piece.rows)
        statuses = [CRASH if done + i == 6 else NON_FINITE if done + i == 8 else OK for i in range(piece.rows)]
        done += piece.rows
        score = pa.array(values, pa.float32(), mask=np.array([status != OK for status in statuses]))
        table = pa.table([items["image_uid"], items["prompt_id"], score, statuses], schema=SCORES)
        commit_scores(store, scorer_id="taste@00000000", unit=piece.unit, table=table, attempt="t", items=items)
    assert done >= 10
    return create_snapshot(store)


def shards(store: Store, scorer_id: str) -> dict[str, pa.Table]:
    return {
        commit.unit: pq.read_table(store.local(commit.file), partitioning=None)
        for commit in list_commits(store)
        if commit.scorer_id == scorer_id
    }


def bits(table: pa.Table) -> bytes:
    return bytes(table["score"].fill_null(0).combine_chunks().to_numpy().tobytes())


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("by", ["item", "pair"])
def test_what_is_exported_comes_back_bit_for_bit_with_every_status(
    store: Store, scored: Snapshot, tmp_path: Path, ending: str, by: str
) -> None:
    file = tmp_path / f"out.{ending}"
    report = export_scores(store, scored, "pets", scorer="taste", to=file, by=by)
    back = import_scores(store, [file], dataset="pets", scorer="again")
    before, after = shards(store, "taste@00000000"), shards(store, back.scorer_id)
    assert before.keys() == after.keys()
    for unit, table in before.items():
        assert after[unit].equals(table) and bits(after[unit]) == bits(table)
    assert report.scores == back.scores and report.bytes == file.stat().st_size
    assert report.rows == back.rows == (12 if by == "pair" else sum(table.num_rows for table in before.values()))


def test_an_imported_scorer_has_the_same_id_when_it_is_brought_back(
    store: Store, scored: Snapshot, tmp_path: Path
) -> None:
    export_scores(store, scored, "pets", scorer="taste", to=tmp_path / "a.csv")
    first = import_scores(store, [tmp_path / "a.csv"], dataset="pets", scorer="again").scorer_id
    assert check_scorer_id(first) and scorer_name(first) == "again"
    export_scores(store, create_snapshot(store), "pets", scorer="again", to=tmp_path / "b.parquet", by="pair")
    second = import_scores(store, [tmp_path / "b.parquet"], dataset="pets", scorer="again")
    assert second.scorer_id == first and second.units_committed == 0


def test_texts_hold_every_float32_for_readers_of_any_precision(store: Store, scored: Snapshot, tmp_path: Path) -> None:
    names = {"csv": lambda file: list(csv.DictReader(file)), "jsonl": lambda file: [json.loads(line) for line in file]}
    for ending, read in names.items():
        path = tmp_path / f"out.{ending}"
        export_scores(store, scored, "pets", scorer="taste", to=path)
        with path.open(encoding="utf-8", newline="") as file:
            found = [row for row in read(file) if row["status"] == OK]
        scores = [table["score"].drop_null().to_numpy() for table in shards(store, "taste@00000000").values()]
        by_float64 = np.array([float(row["score"]) for row in found]).astype(np.float32)
        assert Counter(by_float64.view(np.uint32).tolist()) == Counter(np.concatenate(scores).view(np.uint32).tolist())
        assert all(row["prompt"] for row in found)


def test_odd_prompts_and_uids_survive_a_text_file(store: Store, tmp_path: Path) -> None:
    prompts = [
        'a "cat", in\na hat',
        " two\r\nlines ",
        "\\N",
        "NULL",
        "nan",
        "=1+1",
        "'",
        '"',
        "a,b;c\td",
        "lone\rreturn",
        "漢字 👩\u200d🚀",
    ]
    judged = [Row(prompt, f"img, {i}", f' "{i}"\n', winner=i % 2) for i, prompt in enumerate(prompts)]
    ingest(store, write(tmp_path / "odd.parquet", judged), "odd")
    snapshot = score_all(store, "odd", {"taste@00000000": lambda uid: len(uid) / 3})
    for ending in ("csv", "jsonl"):
        file = tmp_path / f"out.{ending}"
        export_scores(store, snapshot, "odd", scorer="taste", to=file)
        report = import_scores(store, [file], dataset="odd", scorer=ending)
        # Now by the texts alone, without the ids of the prompts.
        by_text = tmp_path / f"text.{ending}"
        by_text.write_bytes(file.read_bytes().replace(b"prompt_id", b"hidden"))
        again = import_scores(store, [by_text], dataset="odd", scorer=ending)
        assert again.scorer_id == report.scorer_id and again.scores == 2 * len(prompts)


def test_an_export_replaces_nothing_and_leaves_nothing_when_it_fails(
    store: Store, scored: Snapshot, tmp_path: Path
) -> None:
    (tmp_path / "there.csv").write_text("mine")
    with pytest.raises(UsageError, match="is there already"):
        export_scores(store, scored, "pets", scorer="taste", to=tmp_path / "there.csv")
    with pytest.raises(UsageError, match=r"ends in none of .csv, .jsonl, .parquet"):
        export_scores(store, scored, "pets", scorer="taste", to=tmp_path / "a.xlsx")
    with pytest.raises(UnknownNameError, match="tatse"):
        export_scores(store, scored, "pets", scorer="tatse", to=tmp_path / "a.csv")
    with pytest.raises(StoreError, match="cannot be written"):
        export_scores(store, scored, "pets", scorer="taste", to=tmp_path / "no" / "such" / "a.csv")
    assert sorted(path.name for path in tmp_path.glob("*.csv")) == ["there.csv"]
    assert not list(tmp_path.glob(".*.csv*"))
