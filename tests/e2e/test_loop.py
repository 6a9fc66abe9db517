"""The loop by hand, as the README shows it, on Toyworld made in another place, number and size of pictures."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from command_line import pairsieve

from training.progress import roughly

SCORERS = "clip-toy,aesthetic-toy,preference-toy,technical"


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 240 pairs of 96-pixel pictures, ingested, scored and put into a snapshot."""
    folder = tmp_path_factory.mktemp("somewhere else")
    store = folder / "store"
    made = pairsieve("toyworld", folder / "raw", "--pairs", 240, "--pixels", 96, "--seed", 5, "--json")
    assert made.status == 0, made.err
    for words in (
        ("ingest", folder / "raw" / "data", "--dataset", "shapes", "--json"),
        ("score", "shapes", "--scorers", SCORERS, "--device", "cpu", "--json"),
        ("snapshot", "create", "--json"),
    ):
        done = pairsieve("--store", store, *words)
        assert done.status == 0, done.err
        done.json()
    return folder


def test_every_image_has_every_score(workplace: Path) -> None:
    images = pq.read_table(workplace / "raw" / "data", columns=["image_0_uid", "image_1_uid"])
    distinct = set(images["image_0_uid"].to_pylist()) | set(images["image_1_uid"].to_pylist())
    again = pairsieve("--store", workplace / "store", "score", "shapes", "--scorers", SCORERS, "--json").json()
    assert again["progress"]["items_done"] == again["progress"]["items_total"] == 4 * len(distinct)
    assert again["failed"] == {}


def test_ranking_explains_itself(workplace: Path) -> None:
    store = ("--store", workplace / "store")
    for metric in ("qsd", "margin"):
        options = ("--metric", metric, "--scorer", "preference-toy", "--top", "10%")
        preview = pairsieve(*store, "rank", "shapes", *options, "--limit", 5, "--json").json()
        metrics = [pair["metric"] for pair in preview["pairs"]]
        assert metrics == sorted(metrics, reverse=True)
        best = preview["pairs"][0]
        why = pairsieve(*store, "rank", "shapes", *options, "--explain", best["pair_id"], "--json").json()
        assert (why["taken"], why["rank"]) == (True, 1)
        assert preview["recipe"]["metric"]["name"] == metric


def test_a_subset_is_the_same_when_made_again_and_lists_show_it(workplace: Path) -> None:
    store = ("--store", workplace / "store")
    options = ("--dataset", "shapes", "--scorer", "preference-toy", "--top", "5.33%", "--json")
    first = pairsieve(*store, "subset", "create", "top", *options).json()
    second = pairsieve(*store, "subset", "create", "top", *options).json()
    assert first == second
    eligible = first["statistics"]["eligible"]
    assert first["rows"] == int(0.0533 * eligible + 0.5)
    assert f"top@{first['version']}" in pairsieve(*store, "subset", "list").out
    assert first["version"] in pairsieve(*store, "subset", "show", "top").out


def test_training_and_evaluation_end_with_win_rates(
    workplace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ("--store", workplace / "store")
    created = pairsieve(
        *store, "subset", "create", "best", "--dataset", "shapes", "--scorer", "preference-toy", "--json"
    )
    assert created.status == 0, created.err
    config = tmp_path / "config.yaml"
    config.write_text("steps: 3\nbatch: 6\ndevice: cpu\nevaluation: {images_per_prompt: 1, inference_steps: 3}\n")
    words = ("train", "--subset", "best", "--config", config, "--set", "warmup=0", "--json")
    done = pairsieve(*store, *words)
    assert done.status == 0, done.err
    found = done.json()
    assert found["result"]["first_loss"] == pytest.approx(0.693147, abs=1e-5)
    assert "After 3 steps accuracy" in found["headline"]
    assert found["warnings"] == []  # of three steps nothing can be said
    judges = {judge["judge"]: judge for judge in found["evaluation"]["judges"]}
    assert set(judges) == {"oracle", "preference-toy"}
    for judge in judges.values():
        assert judge["low"] <= judge["rate"] <= judge["high"]
        assert judge["wins"] + judge["ties"] + judge["losses"] == 24
    # The same again is read, neither trained nor judged; another judge needs no new samples.
    with monkeypatch.context() as patched:
        patched.delattr("training.trainer.train")
        patched.delattr("training.evaluation.run.evaluate")
        again = pairsieve(*store, *words).json()
        said = pairsieve(*store, *words[:-1])
    assert (again["result"], again["evaluation"]) == (found["result"], found["evaluation"])
    assert f"steps   3 in {roughly(found['result']['seconds'])} on cpu" in said.out
    assert "preference-toy" in said.out
    other = pairsieve(*store, "evaluate", found["run"], "--judges", "clip-toy", "--json").json()
    assert other["run_samples"] == found["evaluation"]["run_samples"]


def test_a_snapshot_verifies_until_a_file_is_damaged(workplace: Path) -> None:
    store = ("--store", workplace / "store")
    assert pairsieve(*store, "snapshot", "verify", "--json").json()["problems"] == []
    shard = next((workplace / "store" / "data").rglob("*.parquet"))
    content = shard.read_bytes()
    try:
        shard.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        damaged = pairsieve(*store, "snapshot", "verify")
        assert damaged.status == 1
        assert shard.name in damaged.err
    finally:
        shard.write_bytes(content)


def test_the_demo_ends_with_its_table_and_report_and_reuses_what_is_done(tmp_path: Path) -> None:
    words = ("demo", "--folder", tmp_path / "demo", "--pairs", 120, "--steps", 2, "--top", 20)
    first = pairsieve(*words)
    assert first.status == 0, first.err
    assert "labels right" in first.out
    assert "wins against base" in first.out
    page = (tmp_path / "demo" / "report.html").read_text()
    assert page.count("data:image/png;base64,") > 20
    assert "http://" not in page and "https://" not in page
    attempts = sorted((tmp_path / "demo" / "store").rglob("attempts/**/*.json"))
    second = pairsieve(*words, "--json")
    assert second.status == 0, second.err
    assert sorted((tmp_path / "demo" / "store").rglob("attempts/**/*.json")) == attempts
    outcome = json.loads(second.out)
    assert 0 <= outcome["label_accuracy"]["all"] <= 1
    assert set(outcome["seconds"]) >= {"ingest", "score", "select", "train", "evaluate", "report"}
