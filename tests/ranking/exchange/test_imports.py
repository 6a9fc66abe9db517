"""Scores from elsewhere: found by image and prompt or by pair, checked like any other, committed under an id that
follows from them."""

import csv
import json
import math
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pickapic_factory import rows, write
from scored import score_all

from ranking.audit import audit
from ranking.datasets import Dataset, get_dataset
from ranking.errors import PairsieveError, SourceError, UsageError
from ranking.exchange.imports import ImportReport, import_scores
from ranking.exchange.records import list_imports
from ranking.features.wide import wide_table
from ranking.ingest import ingest
from ranking.store.blobs import Store
from ranking.store.commits import commit_scores, list_commits
from ranking.store.snapshots import create_snapshot


@pytest.fixture
def items(store: Store, dataset: Dataset) -> list[dict[str, Any]]:
    """The items of "pets", in their order."""
    paths = dataset.items_paths(store)
    return pa.concat_tables([pq.read_table(path, partitioning=None) for path in paths]).to_pylist()


@pytest.fixture
def pairs(store: Store, dataset: Dataset) -> list[dict[str, Any]]:
    """The pairs of "pets", in their order."""
    paths = dataset.pairs_paths(store)
    return pa.concat_tables([pq.read_table(path, partitioning=None) for path in paths]).to_pylist()


def opinion(item: Mapping[str, Any]) -> float:
    """A float32 between 0 and 1 that depends on the image and the prompt."""
    digest = sha256(f"{item['image_uid']} {item['prompt']}".encode()).hexdigest()
    return float(np.float32(int(digest[:6], 16) / 2**24))


def as_csv(path: Path, rows: list[Mapping[str, Any]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def as_json(path: Path, rows: list[Mapping[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def as_parquet(path: Path, rows: list[Mapping[str, Any]]) -> Path:
    pq.write_table(pa.Table.from_pylist([dict(row) for row in rows]), path)
    return path


def scored(items: list[dict[str, Any]], *keys: str) -> list[Mapping[str, Any]]:
    return [{key: item[key] for key in keys} | {"score": opinion(item)} for item in items]


def take(store: Store, *files: Path, **more: Any) -> ImportReport:
    return import_scores(store, files, dataset="pets", scorer="taste", **more)


def kept(store: Store, scorer_id: str) -> dict[tuple[str, str], tuple[float | None, str]]:
    """What is committed: (score, status) by image and prompt id."""
    found = {}
    for commit in list_commits(store):
        if commit.scorer_id == scorer_id:
            for row in pq.read_table(store.local(commit.file), partitioning=None).to_pylist():
                found[row["image_uid"], row["prompt_id"]] = row["score"], row["status"]
    return found


def expected(items: list[dict[str, Any]]) -> dict[tuple[str, str], tuple[float | None, str]]:
    return {(item["image_uid"], item["prompt_id"]): (opinion(item), "ok") for item in items}


def test_a_table_by_image_and_prompt_gives_every_item_its_score(
    store: Store, items: list[dict[str, Any]], tmp_path: Path
) -> None:
    report = take(store, as_csv(tmp_path / "a.csv", scored(items, "image_uid", "prompt")))
    assert report.scorer_id.startswith("taste@") and len(report.scorer_id) == len("taste@") + 12
    assert (report.rows, report.scores, report.without, report.unknown_rows) == (len(items), len(items), {}, 0)
    assert (report.units_committed, report.units_known, report.units_unnamed) == (
        len(get_dataset(store, "pets").slices),
        0,
        0,
    )
    assert kept(store, report.scorer_id) == expected(items)
    assert audit(store).errors == ()
    [record] = list_imports(store)
    assert (record.scorer_id, record.dataset, record.files[0].rows) == (report.scorer_id, "pets", len(items))


def test_the_id_follows_from_the_scores_whatever_the_form_order_or_format(
    store: Store, items: list[dict[str, Any]], pairs: list[dict[str, Any]], tmp_path: Path
) -> None:
    by_item = scored(items, "image_uid", "prompt")
    first = take(store, as_csv(tmp_path / "a.csv", by_item))
    by_key = {(item["image_uid"], item["prompt_id"]): opinion(item) for item in items}
    by_pair = [
        {"pair_id": pair["pair_id"]}
        | {f"score_{side}": by_key[pair[f"image_{side}_uid"], pair["prompt_id"]] for side in (0, 1)}
        for pair in pairs
    ]
    half = len(by_item) // 2
    others = [
        [as_json(tmp_path / "b.jsonl", by_item[::-1])],
        [as_parquet(tmp_path / "c.parquet", scored(items, "image_uid", "prompt_id"))],
        [as_csv(tmp_path / "d.csv", by_item[:half]), as_parquet(tmp_path / "e.parquet", by_item[half - 3 :])],
        [as_parquet(tmp_path / "g.parquet", by_pair)],
    ]
    for files in others:
        again = take(store, *files)
        assert again.scorer_id == first.scorer_id
        assert (again.units_committed, again.units_known) == (0, first.units_committed)
    changed = [*by_item[:-1], dict(by_item[-1]) | {"score": 0.123}]
    assert take(store, as_csv(tmp_path / "h.csv", changed)).scorer_id != first.scorer_id


def test_a_table_by_image_alone_holds_under_every_prompt(
    store: Store, items: list[dict[str, Any]], tmp_path: Path
) -> None:
    uids = sorted({item["image_uid"] for item in items})
    report = take(store, as_csv(tmp_path / "a.csv", [{"uid": uid, "taste": len(uid)} for uid in uids]))
    assert report.rows == len(uids) and report.scores == len(items)
    assert set(kept(store, report.scorer_id).values()) == {(float(len(uid)), "ok") for uid in uids}


def test_columns_are_mapped_and_what_lacks_is_said_with_the_names_there_are(
    store: Store, items: list[dict[str, Any]], tmp_path: Path
) -> None:
    odd = [{"id": item["image_uid"], "words": item["prompt"], "points": opinion(item)} for item in items]
    file = as_csv(tmp_path / "a.csv", odd)
    with pytest.raises(SourceError, match=r"no column for image_uid, score \(its columns are id, words, points\)"):
        take(store, file)
    with pytest.raises(SourceError, match="no column pionts, which --columns names for score"):
        take(store, file, columns={"score": "pionts"})
    with pytest.raises(UsageError, match="scoer"):
        take(store, file, columns={"scoer": "points"})
    report = take(store, file, columns={"image_uid": "id", "prompt": "words", "score": "points"})
    assert kept(store, report.scorer_id) == expected(items)


def test_what_is_not_given_or_no_number_gets_a_status_and_units_without_a_word_no_commit(
    store: Store, items: list[dict[str, Any]], tmp_path: Path
) -> None:
    slices = get_dataset(store, "pets").slices
    assert len(slices) >= 2 and slices[0].rows >= 4
    told = scored(items[:4], "image_uid", "prompt")
    told[1] = dict(told[1]) | {"score": "NaN"}
    told[2] = dict(told[2]) | {"score": ""}
    report = take(store, as_csv(tmp_path / "a.csv", told))
    assert (report.units_committed, report.units_unnamed) == (1, len(slices) - 1)
    assert report.scores == 2 and report.without == {"non_finite": 1, "not_given": slices[0].rows - 3}
    found = kept(store, report.scorer_id)
    said = [found[item["image_uid"], item["prompt_id"]] for item in items[: slices[0].rows]]
    assert said[:3] == [(opinion(items[0]), "ok"), (None, "non_finite"), (None, "not_given")]
    assert {status for _, status in said[4:]} == {"not_given"}
    snapshot = create_snapshot(store)
    wide = pq.read_table(wide_table(store, snapshot, "pets"), partitioning=None)
    assert {"not_given", "unscored", "non_finite"} & set(wide["taste.status_0"].to_pylist())
    assert audit(store).errors == ()


def test_two_scores_for_one_item_are_refused_and_the_rows_named(
    store: Store, items: list[dict[str, Any]], tmp_path: Path
) -> None:
    told = scored(items, "image_uid", "prompt")
    file = as_csv(tmp_path / "a.csv", [*told, told[2], dict(told[3]) | {"score": 7}])
    with pytest.raises(SourceError, match=rf"a.csv row {len(told) + 1} gives 7 .* that .*a.csv row 3 gives"):
        take(store, file)
    assert list_commits(store) == []


def test_the_two_images_of_pairs_must_agree_on_the_images_that_they_share(
    store: Store, pairs: list[dict[str, Any]], tmp_path: Path
) -> None:
    told = [{"pair_id": pair["pair_id"], "score_0": index, "score_1": index} for index, pair in enumerate(pairs)]
    with pytest.raises(SourceError, match=r"row 3 gives 3 to an image and prompt that .* row 0 gives 0"):
        take(store, as_csv(tmp_path / "a.csv", told))


def test_rows_of_no_item_are_refused_or_left_out_and_counted(
    store: Store, items: list[dict[str, Any]], tmp_path: Path
) -> None:
    told = scored(items, "image_uid", "prompt")
    stranger = {"image_uid": "nobody", "prompt": "a cat", "score": 1.0}
    file = as_csv(tmp_path / "a.csv", [told[0], stranger, *told[1:], stranger])
    with pytest.raises(
        SourceError, match=r"2 rows are of no item of dataset pets, the first is .*a.csv row 1"
    ) as raised:
        take(store, file)
    assert "--allow-unknown" in raised.value.hint and list_commits(store) == []
    report = take(store, file, allow_unknown=True)
    assert report.unknown_rows == 2 and report.scores == len(items)
    with pytest.raises(SourceError, match=r"no row of .* gives a score"):
        take(store, as_csv(tmp_path / "b.csv", [stranger]), allow_unknown=True)


def test_a_row_that_cannot_be_used_is_named(store: Store, items: list[dict[str, Any]], tmp_path: Path) -> None:
    cases = [
        ({"score": "high"}, "row 1 has 'high' for score, which is no number"),
        ({"image_uid": ""}, "row 1 has no image_uid"),
        ({"prompt": ""}, "row 1 has no prompt"),
    ]
    for change, reason in cases:
        told = scored(items, "image_uid", "prompt")
        told[1] = dict(told[1]) | change
        with pytest.raises(SourceError, match=reason):
            take(store, as_csv(tmp_path / "a.csv", told))


def test_a_file_that_is_no_table_is_one_line(store: Store, dataset: Dataset, tmp_path: Path) -> None:
    contents = [b"", b"PAR1 and then nothing of the kind", b"\x00\xff\xfe" * 99, b'{"a": [1, {"b"']
    endings = ["csv", "parquet", "jsonl", "csv"]
    for number, (content, ending) in enumerate(zip(contents, endings, strict=True)):
        file = tmp_path / f"{number}.{ending}"
        file.write_bytes(content)
        with pytest.raises(PairsieveError) as raised:
            take(store, file)
        assert "\n" not in str(raised.value) and file.name in str(raised.value)
    assert list_commits(store) == []


def test_names_that_are_taken_or_kept_are_refused(store: Store, items: list[dict[str, Any]], tmp_path: Path) -> None:
    file = as_csv(tmp_path / "a.csv", scored(items, "image_uid", "prompt"))
    with pytest.raises(UsageError, match="installed here"):
        take(store, file, installed={"taste": None})
    for name in ("image-facts", "embedding-clip", "rating.care", "Taste", "con"):
        with pytest.raises(UsageError, match=r"kept for|not allowed"):
            import_scores(store, [file], dataset="pets", scorer=name)


def test_numbers_of_every_spelling_are_the_nearest_float32(
    store: Store, items: list[dict[str, Any]], tmp_path: Path
) -> None:
    spellings = ["0.1", "1e-3", "-0", "16777217", "3.4028235e38", "1.4e-45", " 7 ", "1e60"]
    told = [
        {"image_uid": item["image_uid"], "prompt": item["prompt"], "score": spelling}
        for item, spelling in zip(items, spellings, strict=False)
    ]
    found = kept(store, take(store, as_csv(tmp_path / "a.csv", told)).scorer_id)
    with np.errstate(over="ignore"):
        wanted = [float(np.float32(spelling)) for spelling in spellings]
    got = [found[item["image_uid"], item["prompt_id"]] for item in items[: len(told)]]
    assert [score for score, _ in got[:-1]] == wanted[:-1] and math.copysign(1, got[2][0]) == -1
    assert wanted[-1] == math.inf and got[-1] == (None, "non_finite")


def test_an_import_that_died_half_way_goes_on(
    store: Store, items: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = as_csv(tmp_path / "a.csv", scored(items, "image_uid", "prompt"))
    calls = 0

    def dying(*args: Any, **more: Any) -> bool:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyboardInterrupt
        return commit_scores(*args, **more)

    monkeypatch.setattr("ranking.exchange.imports.commit_scores", dying)
    with pytest.raises(KeyboardInterrupt):
        take(store, file)
    monkeypatch.undo()
    assert [path for path in store.tmp().iterdir() if path.name.startswith("import-")] == []
    assert len(list_commits(store)) == 1 and audit(store).errors == ()
    report = take(store, file)
    assert (report.units_known, report.units_committed) == (1, len(get_dataset(store, "pets").slices) - 1)
    assert kept(store, report.scorer_id) == expected(items)


def test_it_is_said_when_snapshots_use_another_version(
    store: Store, items: list[dict[str, Any]], tmp_path: Path
) -> None:
    whole = take(store, as_csv(tmp_path / "a.csv", scored(items, "image_uid", "prompt")))
    assert whole.stands == whole.scorer_id
    part = take(store, as_csv(tmp_path / "b.csv", scored(items[:2], "image_uid", "prompt")))
    assert part.scorer_id != whole.scorer_id and part.stands == whole.scorer_id
    assert create_snapshot(store).scorers == {"taste": whole.scorer_id}


def test_a_file_that_says_nothing_of_what_a_dataset_has_gained_adds_nothing(
    store: Store, items: list[dict[str, Any]], tmp_path: Path
) -> None:
    before = take(store, as_csv(tmp_path / "a.csv", scored(items, "image_uid", "prompt")))
    ingest(store, write(tmp_path / "more.parquet", rows(4, first=40)), "pets")
    again = take(store, tmp_path / "a.csv")
    assert again.scorer_id == before.scorer_id and again.units_committed == 0 and again.units_unnamed >= 1


def test_imported_scores_stand_beside_computed_ones_in_the_wide_table(
    store: Store, items: list[dict[str, Any]], tmp_path: Path
) -> None:
    take(store, as_csv(tmp_path / "a.csv", scored(items, "image_uid", "prompt")))
    snapshot = score_all(store, "pets", {"sharp@00000000": lambda uid: len(uid) / 8})
    assert list(snapshot.scorers) == ["sharp", "taste"]
    wide = pq.read_table(wide_table(store, snapshot, "pets"), partitioning=None).to_pylist()
    by_key = {(item["image_uid"], item["prompt_id"]): opinion(item) for item in items}
    for pair in wide:
        for side in (0, 1):
            assert pair[f"taste.{side}"] == by_key[pair[f"image_{side}_uid"], pair["prompt_id"]]
    assert audit(store).errors == ()
