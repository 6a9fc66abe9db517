"""Datasets, scorers, snapshots, jobs, runs and health: what the store holds, as the API shows it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pickapic_factory import jpeg
from service_factory import (
    Site,
    create_snapshot,
    cut,
    hashed,
    ingest,
    rows,
    score_all,
    serving,
    write,
)
from starlette.testclient import TestClient

from ranking.plan import bury, create_plan
from ranking.runs import bury_run, plan_run
from ranking.store.blobs import Store


def test_every_dataset_is_listed_also_one_that_is_younger_than_the_snapshot(site: Site) -> None:
    items = {each["name"]: each for each in site.client.get("/v1/datasets").json()["items"]}
    assert {name: each["pairs"] for name, each in items.items()} == {"toy": 60, "hostile": 7, "fresh": 5}
    assert {name: each["snapshot"] for name, each in items.items()} == {"toy": 1, "hostile": 1, "fresh": None}


def test_a_dataset_lists_the_fields_to_filter_and_sort_by(site: Site) -> None:
    shown = site.client.get("/v1/datasets/toy").json()
    fields = {field["name"]: field["kind"] for field in shown["fields"]}
    assert fields["alpha.gap"] == "number"
    assert fields["is_tie"] == "boolean"
    for name in fields:
        assert site.client.get(f"/v1/pairs?dataset=toy&limit=1&sort=-{name}").status_code == 200
    assert site.client.get("/v1/datasets/fresh").json()["fields"] == []
    assert site.client.get("/v1/datasets/nope").json()["code"] == "unknown-name"


def test_scorers_say_what_they_could_not_score(site: Site) -> None:
    shown = site.client.get("/v1/scorers").json()
    alpha, beta = shown["items"]
    assert (alpha["name"], alpha["scorer_id"], alpha["bad_rows"]) == ("alpha", "alpha@aaaaaaaa", 0)
    assert beta["bad_rows"] > 0
    assert alpha["rows"] == beta["rows"]


def test_snapshots_come_newest_first(site: Site) -> None:
    items = site.client.get("/v1/snapshots").json()["items"]
    assert [each["n"] for each in items] == [1]
    assert items[0] == site.client.get("/v1/snapshots/1").json()
    assert items[0]["datasets"] == {"toy": 1, "hostile": 1}
    assert items[0]["scorers"] == {"alpha": "alpha@aaaaaaaa", "beta": "beta@bbbbbbbb"}
    assert site.client.get("/v1/snapshots/2").status_code == 404
    assert site.client.get("/v1/snapshots/0").status_code == 422
    assert site.client.get("/v1/snapshots/x").status_code == 422


def test_a_job_counts_what_is_done_dead_and_open(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    write(tmp_path / "a" / "a.parquet", rows(9))
    ingest(store, tmp_path / "a", "toy", slice_items=4)
    plan = create_plan(store, "toy", ["alpha@aaaaaaaa"])
    with serving(store) as client:
        job = client.get("/v1/jobs").json()["items"][0]
        assert (job["state"], job["units_done"], job["units_total"]) == ("open", 0, len(plan.slices))
        for piece in plan.slices:
            bury(store, plan, piece.unit, reason="the disk is on fire")
        job = client.get(f"/v1/jobs/{plan.job_id}").json()
        assert (job["state"], job["units_dead"]) == ("dead", len(plan.slices))
        assert {each["reason"] for each in job["dead"]} == {"the disk is on fire"}


def test_a_finished_job_is_done(site: Site) -> None:
    job = site.client.get(f"/v1/jobs/{site.plan.job_id}").json()
    assert (job["state"], job["items_done"]) == ("done", job["items_total"])
    assert site.client.get(f"/v1/jobs/{'0' * 16}").status_code == 404


def test_a_run_shows_what_it_measured(site: Site) -> None:
    shown = site.client.get(f"/v1/runs/{site.run.run_id}").json()
    assert (shown["state"], shown["subset"]) == ("done", site.subset.ref)
    lines = site.client.get(f"/v1/runs/{site.run.run_id}/metrics").text.splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(40))
    assert shown["evaluations"][0]["judges"][0]["judge"] == "oracle"
    assert shown["result"]["pairs"] == 10
    assert [run["id"] for run in site.client.get("/v1/runs").json()["items"]] == [site.run.run_id]
    assert site.client.get(f"/v1/runs/{'0' * 16}").status_code == 404


def test_samples_come_with_prompt_seed_and_image(site: Site) -> None:
    evaluation = site.client.get(f"/v1/runs/{site.run.run_id}").json()["evaluations"][0]
    ids = [evaluation[name].split("/")[1].removesuffix(".parquet") for name in ("base_samples", "run_samples")]
    base, run = (site.client.get(f"/v1/samples/{each}").json()["items"] for each in ids)
    assert [(each["prompt"], each["seed"]) for each in base] == [(each["prompt"], each["seed"]) for each in run]
    image = site.client.get(run[4]["url"])
    assert (image.headers["content-type"], image.content) == ("image/jpeg", jpeg("run 4"))
    assert "immutable" in image.headers["cache-control"]
    for suffix, status in ((f"{ids[0]}/6", 404), (f"{ids[0]}/-1", 422), ("0" * 24, 404), ("..%2fplans", 422)):
        assert site.client.get(f"/v1/samples/{suffix}").status_code == status


def test_a_run_that_was_given_up_says_why_here_and_on_its_page(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    write(tmp_path / "a" / "a.parquet", rows(9))
    ingest(store, tmp_path / "a", "toy")
    score_all(store, "toy", {"alpha@aaaaaaaa": hashed("alpha")})
    run = plan_run(store, cut(store, create_snapshot(store), count=3).ref, {"steps": 2})
    bury_run(store, run.run_id, reason="the loss is nan")
    with serving(store) as client:
        shown = client.get(f"/v1/runs/{run.run_id}").json()
        assert (shown["state"], shown["reason"]) == ("dead", "the loss is nan")
        assert "the loss is nan" in client.get(f"/runs/{run.run_id}").text


def test_an_empty_store_is_a_normal_state(empty: TestClient) -> None:
    for path in ("datasets", "scorers", "snapshots", "subsets", "jobs", "runs", "pairs"):
        answer = empty.get(f"/v1/{path}")
        assert (answer.status_code, answer.json()["items"]) == (200, [])
    assert empty.get("/v1/images/x").json()["code"] == "image-missing"
    assert empty.get("/livez").json()["status"] == "ok"
    ready = empty.get("/readyz")
    assert (ready.status_code, ready.json()["checks"]["snapshot"]["detail"]) == (200, "no snapshot yet")


def test_a_store_that_cannot_be_loaded_is_not_ready(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    store.put_if_absent("snapshots/0000000001.json", b"{}")
    with serving(store) as client:
        assert client.get("/readyz").status_code == 503
        assert client.get("/livez").status_code == 200
        answer = client.get("/v1/snapshots")
        assert (answer.status_code, answer.json()["code"]) == (503, "store-unavailable")
        assert str(tmp_path) not in answer.text


@pytest.mark.parametrize("job_id", ["..%2f..", "%00", "zz", "A" * 16, "0" * 65, "%2e%2e%2fplans"])
def test_an_id_that_is_none_never_reaches_the_disk(site: Site, job_id: str) -> None:
    for kind in ("jobs", "runs"):
        answer = site.client.get(f"/v1/{kind}/{job_id}")
        assert answer.status_code in (404, 422)
        assert answer.headers["content-type"] == "application/problem+json"
