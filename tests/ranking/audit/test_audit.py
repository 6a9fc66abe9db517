"""An undamaged store has no finding; each kind of damage is found, named, and under the right invariant."""

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from aged import DAY, age, age_all
from embedded import CLIP, embed_all
from pickapic_factory import rows, write
from scored import score_all
from studied import add_study

from ranking import plan
from ranking.audit import AuditReport, Finding, audit
from ranking.collection import collect, plan_collection
from ranking.collection.candidates import Ages
from ranking.datasets import Revision, list_revisions, put_revision
from ranking.exchange.records import GivenFile, put_import
from ranking.features.pairs import PairTable
from ranking.features.wide import wide_table
from ranking.images.facts import FACTS_ID
from ranking.ingest import ingest
from ranking.names import canonical_json, sha256_file
from ranking.runs import beat_run, finish_run, plan_run, record_run_attempt
from ranking.schema import FACTS, MISSING, OK, RATED
from ranking.store.blobs import Store
from ranking.store.commits import commit_facts, list_commits
from ranking.store.parquet import put_parquet, write_parquet
from ranking.store.refs import pin
from ranking.store.snapshots import create_snapshot, get_snapshot
from ranking.subsets.recipe import parse_recipe
from ranking.subsets.select import create_subset

SHARP, HUE = "sharp@00000000", "hue@11111111"
RECIPE = {"name": "best", "dataset": "pets", "metric": {"name": "margin", "scorer": "sharp"}, "take": {"count": 4}}


@pytest.fixture(scope="module")
def undamaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with two revisions, two scorers, facts, embeddings, snapshots, a wide table, a subset, a pin, a run that
    is done, one that is open, a dead slice and an open one."""
    folder = tmp_path_factory.mktemp("undamaged")
    store = Store.open(folder / "store")
    ingest(store, write(folder / "a.parquet", rows(8)), "pets", slice_items=5)
    score_all(store, "pets", {SHARP: lambda uid: len(uid) / 8})
    ingest(store, write(folder / "b.parquet", rows(6, first=6)), "pets", slice_items=5)
    score_all(
        store, "pets", {SHARP: lambda uid: int(uid[4:]) / 8, HUE: lambda uid: None if uid == "img-4" else len(uid) / 9}
    )
    facts = plan.create_plan(store, "pets", [FACTS_ID])
    for piece in facts.slices:
        items = plan.read_items(store, facts, piece)
        commit_facts(store, facts_id=FACTS_ID, unit=piece.unit, table=facts_of(items), attempt="f", items=items)
    embed_all(store)
    put_import(store, "taste@0123456789ab", "pets", (GivenFile("taste.csv", 9, 1, "item"),))
    rate(store)
    snapshot = create_snapshot(store)
    PairTable(store, snapshot, "pets").relation(["prompt_words", "pareto_0"])
    subset = create_subset(store, parse_recipe(RECIPE | {"seed": 0}), snapshot)
    pin(store, "manual", "paper", get_snapshot(store, 1), why="cited")
    done, going = (plan_run(store, subset.ref, {"seed": seed}).run_id for seed in (1, 2))
    record_run_attempt(store, done, worker="w/1/x")
    store.put_if_absent(f"runs/{done}/output-1/unet/weights", b"weights")
    finish_run(store, done, {"output": f"runs/{done}/output-1"})
    beat_run(store, going)
    add_study(store, subset, run=done)
    ingest(store, write(folder / "c.parquet", rows(4, first=40)), "cats", slice_items=4)
    job = plan.create_plan(store, "cats", [SHARP])
    first, second = (piece.unit for piece in job.slices[:2])
    for unit in (first, second):
        plan.record_attempt(store, job, unit, worker="w/1/x")
    plan.bury(store, job, first, reason="three tries ended without a commit")
    return folder / "store"


@pytest.fixture
def held(undamaged: Path, tmp_path: Path) -> Store:
    """A copy of it, free to be damaged."""
    shutil.copytree(undamaged, tmp_path / "copy")
    return Store.open(tmp_path / "copy")


def facts_of(items: pa.Table) -> pa.Table:
    """Made-up facts: image 4 is missing, the others differ in all but their height."""
    uids = pc.unique(items["image_uid"]).to_pylist()
    rows = []
    for uid in uids:
        number = int(uid.removeprefix("img-"))
        known = {"bytes": 100, "sha256": f"{number:064d}", "width": 8 + number, "height": 8, "phash": 3 * number}
        rows.append({"image_uid": uid, "status": MISSING} if number == 4 else {"image_uid": uid, "status": OK, **known})
    return pa.Table.from_pylist(rows, schema=FACTS)


def rate(store: Store) -> None:
    """A revision that brings only ratings: of image 3 under one prompt by two people, of the others under any."""
    newest = list_revisions(store, "pets")[-1]
    prompt = pq.read_table(store.local(newest.items.file), partitioning=None)["prompt_id"][0].as_py()
    rated = [{"image_uid": f"img-{n}", "prompt_id": None, "name": "care", "value": n / 8} for n in range(12)]
    rated += [{"image_uid": "img-7", "prompt_id": prompt, "name": "care", "value": value} for value in (0.25, 0.75)]
    file = put_parquet(store, "datasets/pets/ratings", RATED, pa.Table.from_pylist(rated, schema=RATED).to_batches())
    put_revision(store, Revision("pets", newest.number + 1, newest.sha, "table", (), None, None, (), {}, file))


def a_commit(store: Store, scorer_id: str = SHARP, number: int = 0) -> tuple[str, dict[str, Any]]:
    """The key of a marker and what it holds; the markers with most rows come first."""
    commits = sorted(list_commits(store), key=lambda commit: (-commit.rows, commit.unit))
    commit = [commit for commit in commits if commit.scorer_id == scorer_id][number]
    key = f"commits/{scorer_id}/{commit.unit}.json"
    return key, json.loads(store.get(key))


def rewrite(store: Store, key: str, change: dict[str, Any]) -> str:
    """Edit a JSON record as somebody with an editor and an eye for our spelling would."""
    path = store.local(key)
    path.write_bytes(canonical_json(json.loads(path.read_bytes()) | change))
    return key


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def replace_rows(store: Store, table: pa.Table, *, scorer_id: str = SHARP) -> str:
    """Bypass every check of a commit: the marker of a unit names these rows, with hash, size and count right."""
    key, marker = a_commit(store, scorer_id)
    path = store.tmp() / "bypass.parquet"
    write_parquet(path, table.schema, table.to_batches())
    sha256, size = sha256_file(path), path.stat().st_size
    file = f"data/{scorer_id}/{marker['unit']}/{sha256}.parquet"
    store.put_file(file, path)
    bad = sum(status != "ok" for status in table["status"].to_pylist())
    rewrite(store, key, {"file": file, "sha256": sha256, "bytes": size, "rows": table.num_rows, "n_bad": bad})
    return file


def rows_of(store: Store, scorer_id: str = SHARP) -> pa.Table:
    return pq.read_table(store.local(a_commit(store, scorer_id)[1]["file"]), partitioning=None)


def flipped_bit(store: Store) -> str:
    file = a_commit(store)[1]["file"]
    flip(store.local(file))
    return str(file)


def truncated(store: Store) -> str:
    file = a_commit(store)[1]["file"]
    store.local(file).write_bytes(store.local(file).read_bytes()[:-20])
    return str(file)


def emptied(store: Store) -> str:
    file = a_commit(store)[1]["file"]
    store.local(file).write_bytes(b"")
    return str(file)


def deleted(store: Store) -> str:
    file = a_commit(store)[1]["file"]
    store.delete(file)
    return str(file)


def swapped(store: Store) -> str:
    one, two = (a_commit(store, number=number)[1]["file"] for number in (0, 1))
    data = store.get(one), store.get(two)
    store.local(one).write_bytes(data[1])
    store.local(two).write_bytes(data[0])
    return str(one)


def duplicated_rows(store: Store) -> str:
    table = rows_of(store)
    return replace_rows(store, pa.concat_tables([table.slice(0, table.num_rows - 1), table.slice(0, 1)]))


def missing_rows(store: Store) -> str:
    return replace_rows(store, rows_of(store).slice(1))


def reordered_rows(store: Store) -> str:
    table = rows_of(store)
    return replace_rows(store, table.take(list(reversed(range(table.num_rows)))))


def strange_rows(store: Store) -> str:
    table = rows_of(store)
    uids = ["img-999", *table["image_uid"].to_pylist()[1:]]
    return replace_rows(store, table.set_column(0, "image_uid", pa.array(uids)))


def facts_of_other_images(store: Store) -> str:
    return replace_rows(store, rows_of(store, FACTS_ID).slice(1), scorer_id=FACTS_ID)


def embeddings_of_other_images(store: Store) -> str:
    return replace_rows(store, rows_of(store, CLIP).slice(1), scorer_id=CLIP)


def longer_embedding(store: Store) -> str:
    table = rows_of(store, CLIP)
    vectors = [[2 * value for value in vector] for vector in table["embedding"].to_pylist()]
    return replace_rows(
        store, table.set_column(2, "embedding", pa.array(vectors, table["embedding"].type)), scorer_id=CLIP
    )


def with_score(store: Store, score: float | None) -> str:
    table = rows_of(store)
    scores = [score, *table["score"].to_pylist()[1:]]
    return replace_rows(store, table.set_column(2, "score", pa.array(scores, pa.float32())))


def damaged_pairs(store: Store) -> str:
    key = store.list("datasets/pets/pairs")[0]
    flip(store.local(key))
    return key


def deleted_items(store: Store) -> str:
    key = store.list("datasets/cats/items")[0]
    store.delete(key)
    return key


def edited_snapshot(store: Store) -> str:
    members = json.loads(store.get("snapshots/0000000001.json"))["members"]
    return rewrite(store, "snapshots/0000000001.json", {"members": members[1:]})


def snapshot_of_a_deleted_file(store: Store) -> str:
    """The marker is gone with its file, but a snapshot still cites it."""
    key, marker = a_commit(store)
    store.delete(key)
    store.delete(marker["file"])
    return str(marker["file"])


def damaged_subset(store: Store) -> str:
    [key] = [key for key in store.list("subsets") if key.endswith("pairs.parquet")]
    flip(store.local(key))
    return key


def edited_subset(store: Store) -> str:
    [key] = [key for key in store.list("subsets") if key.endswith("manifest.json")]
    return rewrite(store, key, {"recipe": json.loads(store.get(key))["recipe"] | {"seed": 7}})


def damaged_tallies(store: Store) -> str:
    [key] = [key for key in store.list("studies") if "/tallies/" in key]
    flip(store.local(key))
    return key


def cell_of_a_lost_subset(store: Store) -> str:
    [key] = [key for key in store.list("studies") if "/cells/" in key]
    return rewrite(store, key, {"subset": "best@0123456789ab"})


def edited_study(store: Store) -> str:
    [key] = [key for key in store.list("studies") if key.endswith("/study.json")]
    return rewrite(store, key, {"spec": json.loads(store.get(key))["spec"] | {"seeds": [7]}})


def deleted_output(store: Store) -> str:
    [key] = [key for key in store.list("runs") if key.endswith("done.json")]
    [output] = [key for key in store.list("runs") if "/output-1/" in key]
    store.delete(output)
    return key


def damaged_wide(store: Store) -> str:
    key = str(wide(store)[1]["table"]["file"])
    flip(store.local(key))
    return key


def damaged_columns(store: Store) -> str:
    key = next(key for key in store.list("columns") if key.endswith(".parquet"))
    flip(store.local(key))
    return key


def wide(store: Store) -> tuple[str, dict[str, Any]]:
    """The key of the description of the only wide table, and what it holds."""
    [key] = [key for key in store.list("wide") if key.endswith(".json")]
    return key, json.loads(store.get(key))


def in_wide(column: str, value: Callable[[Any], Any]) -> Callable[[Store], str]:
    """Another value in the first row of a column; the description is made to fit, as whoever built it wrongly would."""

    def damage(store: Store) -> str:
        key, description = wide(store)
        table = pq.read_table(store.local(description["table"]["file"]), partitioning=None)
        values = table[column].to_pylist()
        changed = pa.array([value(values[0]), *values[1:]], table.schema.field(column).type)
        path = store.tmp() / "wide.parquet"
        pq.write_table(table.set_column(table.column_names.index(column), column, changed), path)
        sha256, size = sha256_file(path), path.stat().st_size
        file = f"{key.rpartition('/')[0]}/{sha256}.parquet"
        store.put_file(file, path)
        rewrite(store, key, {"table": description["table"] | {"file": file, "sha256": sha256, "bytes": size}})
        return file

    return damage


def deleted_derived(store: Store, folder: str) -> str:
    key = next(key for key in store.list(folder) if key.endswith(".parquet"))
    store.delete(key)
    return key


def in_the_trash(store: Store) -> str:
    file = a_commit(store)[1]["file"]
    store.move(file, f"trash/20260101t000000-00000000/{file}")
    return str(file)


def attempt_of_nobody(store: Store) -> str:
    key = f"attempts/{'9' * 16}/{'8' * 16}/{'7' * 32}.json"
    record = {"job_id": "9" * 16, "unit": "8" * 16, "attempt": "7" * 32, "worker": "w", "created": "2026-01-01"}
    store.put_if_absent(key, canonical_json(record))
    return key


def marker_of_nobody(store: Store) -> str:
    _, marker = a_commit(store)
    file = store.local(marker["file"]).read_bytes()
    other = marker["file"].replace(marker["unit"], "e" * 16)
    store.put_if_absent(other, file)
    key = f"commits/{SHARP}/{'e' * 16}.json"
    store.put_if_absent(key, canonical_json(marker | {"unit": "e" * 16, "file": other}))
    return key


def published_tomorrow(store: Store) -> str:
    [job] = [each for each in plan.list_plans(store) if each.dataset == "cats"]
    key = f"hints/published/{job.job_id}.json"
    store.put_hint(key, canonical_json({piece.unit: time.time() + 30 * DAY for piece in job.slices}))
    return key


def beating_tomorrow(store: Store) -> str:
    [going] = store.children("hints/runs")
    store.put_hint(f"hints/runs/{going}", str(time.time() + 30 * DAY).encode())
    return f"hints/runs/{going}"


def first(prefix: str, ending: str = ".json") -> Callable[[Store], str]:
    """Damage that makes a record unreadable."""

    def damage(store: Store) -> str:
        key = next(key for key in store.list(prefix) if key.endswith(ending))
        store.local(key).write_bytes(b'{"half":')
        return key

    return damage


DAMAGES: list[tuple[str, Callable[[Store], str], int]] = [
    ("a flipped bit in a score file", flipped_bit, 3),
    ("a truncated score file", truncated, 3),
    ("an empty score file", emptied, 3),
    ("a deleted score file", deleted, 4),
    ("two score files swapped", swapped, 3),
    ("a flipped bit in a pairs file", damaged_pairs, 3),
    ("a deleted items file", deleted_items, 4),
    ("a torn marker", first("commits"), 1),
    ("a torn attempt", first("attempts"), 1),
    ("a torn death", first("dead"), 1),
    ("a torn plan", first("plans"), 1),
    ("a torn record of an import", first("imports"), 1),
    ("a marker with another sha256", lambda s: rewrite(s, a_commit(s)[0], {"sha256": "0" * 64}), 1),
    ("a marker with another file", lambda s: rewrite(s, a_commit(s)[0], {"file": a_commit(s, HUE)[1]["file"]}), 1),
    ("a marker of a unit that no dataset has", marker_of_nobody, 1),
    ("an attempt at nothing", attempt_of_nobody, 1),
    ("a death without reason", lambda s: rewrite(s, s.list("dead")[0], {"reason": " "}), 1),
    ("a plan with other scorers", lambda s: rewrite(s, s.list("plans")[0], {"scorer_ids": ["x@00000000"]}), 1),
    ("rows twice", duplicated_rows, 2),
    ("rows missing", missing_rows, 2),
    ("rows in another order", reordered_rows, 2),
    ("rows of another image", strange_rows, 2),
    ("facts of other images", facts_of_other_images, 2),
    ("embeddings of other images", embeddings_of_other_images, 2),
    ("an embedding that is too long", longer_embedding, 6),
    ("a NaN", lambda s: with_score(s, float("nan")), 6),
    ("an infinite score", lambda s: with_score(s, float("inf")), 6),
    ("no score with status ok", lambda s: with_score(s, None), 6),
    ("an edited snapshot", edited_snapshot, 5),
    ("a snapshot with another number", lambda s: rewrite(s, "snapshots/0000000002.json", {"n": 3}), 5),
    ("a snapshot with another parent", lambda s: rewrite(s, "snapshots/0000000002.json", {"parent": "0" * 64}), 5),
    ("a torn snapshot", first("snapshots"), 5),
    (
        "a deleted snapshot in the middle",
        lambda s: (s.delete("snapshots/0000000002.json"), "snapshots/0000000002.json")[1],
        5,
    ),
    (
        "a deleted snapshot that is pinned",
        lambda s: (s.delete("snapshots/0000000001.json"), "snapshots/0000000001.json")[1],
        4,
    ),
    (
        "an edited revision",
        lambda s: (rewrite(s, s.list("datasets/pets/revisions")[0], {"format": "x"}), "datasets/pets")[1],
        5,
    ),
    ("a torn pin", first("refs"), 5),
    ("an edited subset", edited_subset, 5),
    ("a pin on another sha", lambda s: rewrite(s, "refs/manual/paper.json", {"sha": "0" * 64}), 4),
    ("a flipped bit in a subset", damaged_subset, 3),
    ("a snapshot's file deleted with its marker", snapshot_of_a_deleted_file, 4),
    ("a deleted run output", deleted_output, 4),
    ("a flipped bit in what a study counted", damaged_tallies, 3),
    ("a study's cell of a lost subset", cell_of_a_lost_subset, 4),
    ("an edited study", edited_study, 5),
    ("a flipped bit in the wide table", damaged_wide, 3),
    ("a flipped bit in columns beside the wide table", damaged_columns, 3),
    ("columns without their file", lambda s: deleted_derived(s, "columns"), 4),
    ("a label graph without its file", lambda s: deleted_derived(s, "graphs"), 4),
    ("another pair in the wide table", in_wide("pair_id", lambda _: "0" * 16), 8),
    ("another prompt in the wide table", in_wide("prompt", lambda text: text + "."), 8),
    ("another score in the wide table", in_wide("sharp.0", lambda score: score + 1), 8),
    ("another gap in the wide table", in_wide("sharp.gap", lambda gap: gap + 1), 8),
    ("another rank in the wide table", in_wide("sharp.rank", lambda _: 99), 8),
    ("a score for an unscored image", in_wide("hue.status_0", lambda _: "unscored"), 8),
    ("another count of votes", in_wide("votes", lambda votes: votes + 1), 8),
    ("another count of wins", in_wide("wins_0", lambda wins: wins + 1), 8),
    ("another width", in_wide("width_0", lambda _: 7), 8),
    ("another rating", in_wide("rating.care.0", lambda _: 7.0), 8),
    ("a score file in the trash", in_the_trash, 7),
    ("work published in the future", published_tomorrow, 9),
    ("a run that beats in the future", beating_tomorrow, 9),
]


def told(report: AuditReport) -> list[str]:
    return [f"I{each.invariant} {each.severity} {each.key}: {each.what}" for each in report.findings]


def test_an_undamaged_store_has_no_finding(held: Store) -> None:
    report = audit(held, every=True)
    assert (told(report), report.ok, report.deep) == ([], True, True)
    looked = report.looked
    assert (looked[1]["units dead"], looked[1]["units open"], looked[1]["attempts"]) == (1, 1, 2)
    assert looked[1]["units done"] == sum(plan.progress(held, job).units_done for job in plan.list_plans(held)) > 0
    assert (
        sum(looked[2][f"files of {what}"] for what in ("scores", "image facts", "embeddings")) == looked[1]["markers"]
    )
    assert (looked[5]["snapshots"], looked[5]["subsets"], looked[8]["subsets"], looked[8]["wide tables"]) == (
        3,
        1,
        1,
        1,
    )
    assert (looked[9]["open slices"], looked[9]["open runs"]) == (1, 1)


def test_a_quick_audit_of_an_undamaged_store_reads_no_scores(held: Store) -> None:
    report = audit(held, deep=False)
    assert (told(report), report.looked[2], report.looked[6], report.looked[8]) == ([], {}, {}, {})


@pytest.mark.parametrize(("damage", "invariant"), [each[1:] for each in DAMAGES], ids=[each[0] for each in DAMAGES])
def test_damage_is_found_and_named(held: Store, damage: Callable[[Store], str], invariant: int) -> None:
    key = damage(held)
    errors = audit(held).errors
    assert [each for each in errors if each.invariant == invariant and each.key == key], errors
    assert all(each.what and each.todo for each in errors)


@pytest.mark.parametrize("damage", [truncated, emptied, deleted, first("commits"), edited_snapshot, in_the_trash])
def test_a_quick_audit_finds_what_needs_no_reading(held: Store, damage: Callable[[Store], str]) -> None:
    key = damage(held)
    assert key in {each.key for each in audit(held, deep=False).errors}


def test_one_damaged_byte_is_told_once(held: Store) -> None:
    key = flipped_bit(held)
    assert [(each.invariant, each.key) for each in audit(held).errors] == [(3, key)]


def test_a_record_in_another_spelling_was_edited(held: Store) -> None:
    key, marker = a_commit(held)
    held.local(key).write_text(json.dumps(marker, indent=1))
    assert [(each.invariant, each.key) for each in audit(held).errors] == [(1, key)]


def test_an_older_wide_table_is_looked_at_when_asked_for(held: Store) -> None:
    wide_table(held, get_snapshot(held, 1), "pets")
    assert audit(held).looked[8]["wide tables"] == 1
    assert audit(held, every=True).looked[8]["wide tables"] == 2


def test_what_a_collection_would_take_is_a_note(held: Store) -> None:
    orphan = f"data/{SHARP}/{'a' * 16}/{'b' * 64}.parquet"
    held.put_if_absent(orphan, b"x" * 10)
    assert told(audit(held)) == []
    age(held, orphan, days=8)
    report = audit(held)
    assert report.ok
    assert [(each.invariant, each.key, "1 scores (10 bytes)" in each.what) for each in report.findings] == [
        (7, orphan, True)
    ]


def test_a_retired_snapshot_is_no_damage(held: Store) -> None:
    age_all(held, "snapshots", days=400)
    collect(held, plan_collection(held, now=time.time(), ages=Ages(snapshots=DAY)))
    assert not held.exists("snapshots/0000000002.json")
    assert told(audit(held, every=True)) == []


def test_a_unit_that_used_up_its_tries_long_ago_is_noted(held: Store) -> None:
    [job] = [each for each in plan.list_plans(held) if each.dataset == "cats"]
    unit = job.slices[1].unit
    for _ in range(2):
        plan.record_attempt(held, job, unit, worker="w/1/x")
    assert audit(held).findings == ()
    later = audit(held, now=time.time() + 3600)
    assert [(each.invariant, each.severity, each.key) for each in later.findings] == [
        (9, "note", f"attempts/{job.job_id}/{unit}")
    ]


def test_hints_of_what_is_gone_are_noted(held: Store) -> None:
    held.put_hint("hints/runs/0123456789abcdef", b"1")
    assert [(each.invariant, each.severity, each.key) for each in audit(held).findings] == [
        (10, "note", "hints/runs/0123456789abcdef")
    ]


def test_writers_at_work_raise_no_false_alarm(held: Store, tmp_path: Path) -> None:
    """Between any two reads of the audit a writer adds a dataset's worth of everything."""
    reads = 0

    class Busy(Store):
        def list(self, prefix: str) -> list[str]:
            nonlocal reads
            reads += 1
            if reads % 3 == 0 and reads <= 15:
                everything(held, tmp_path / str(reads), first=100 * reads)
            return super().list(prefix)

    report = audit(Busy(held._blobs), every=True)
    assert reads > 15
    assert [each for each in report.findings if each.severity == "error"] == []


def everything(store: Store, folder: Path, *, first: int) -> None:
    """Pairs, scores, a snapshot, a subset, a pin and a run more."""
    ingest(store, write(folder / "more.parquet", rows(2, first=first)), "pets", slice_items=2)
    snapshot = score_all(store, "pets", {SHARP: lambda uid: int(uid[4:]) / 8})
    subset = create_subset(store, parse_recipe(RECIPE | {"seed": first}), snapshot)
    pin(store, "manual", f"p{first}", snapshot)
    plan_run(store, subset.ref, {"seed": first})


def test_findings_are_plain_values_in_order(held: Store) -> None:
    flipped_bit(held)
    first("dead")(held)
    findings = audit(held).findings
    assert [each.invariant for each in findings] == sorted(each.invariant for each in findings)
    assert all(isinstance(each, Finding) for each in findings)
