"""Runs over REST and as pages: live while they go on, with samples, warnings and each other beside them."""

from __future__ import annotations

import json
import time
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from html_page import open_page
from made_steps import steps
from service_factory import Site, build, cut, png, serving
from starlette.testclient import TestClient

from ranking.runs import RunPlan, plan_run, record_run_attempt
from ranking.store.blobs import Store
from service.dashboard.evaluations import read_evaluation
from training.watch.live import tell

LEARNS = {"winner_change": -0.004, "loser_change": 0.011}


def learning(step: int) -> dict[str, Any]:
    """A run that learns and has its gradient clipped all the time."""
    return LEARNS | {"implicit_accuracy": 0.5 + 0.002 * step, "loss": 0.69 - 0.002 * step, "gradient_norm": 3.0}


@pytest.fixture(scope="module")
def going(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A client, the store and a run that takes its steps now."""
    store, snapshot, *_ = build(tmp_path_factory.mktemp("going"))
    subset = cut(store, snapshot, name="other", count=8)
    config = {"model": "toyworld", "steps": 200, "max_grad_norm": 1.0, "method": {"name": "rpo", "beta": 2000.0}}
    run = plan_run(store, subset.ref, config)
    record_run_attempt(store, run.run_id, worker="me")
    tell(store, run.run_id, attempt="me", steps=200, records=steps(100, learning))
    for step in (0, 50):
        table = pa.table({"prompt": ["a <b>red</b> star"] * 2, "seed": [0, 1], "image": [png(16), png(17)]})
        pq.write_table(table, store.tmp() / "samples")
        store.put_file(f"runs/{run.run_id}/samples/{step:010d}.parquet", store.tmp() / "samples")
    with serving(store) as client:
        yield client, store, run


def test_a_run_that_goes_on_shows_its_steps_its_warnings_and_how_far_it_is(
    going: tuple[TestClient, Store, RunPlan],
) -> None:
    client, _, run = going
    found = client.get(f"/v1/runs/{run.run_id}").json()
    assert (found["state"], found["steps_done"], found["steps_total"], found["method"]) == ("running", 100, 200, "rpo")
    assert found["headline"].startswith("It learns the order of its pairs. After 100 steps accuracy 0.68")
    assert found["warnings"] == []  # of what may be as it should be, nobody is alarmed
    assert (found["notes"][0]["code"], found["notes"][0]["grave"]) == ("always-clipped", False)
    assert found["notes"][0]["numbers"] == {"share": 1.0, "gradient_norm": 3.0, "max_grad_norm": 1.0}
    assert time.time() - found["told"] < 600
    assert found["latest"]["step"] == 99
    assert {grid["name"] for grid in found["by_time"]} == {"implicit_accuracy", "winner_change", "loser_change"}
    (row,) = [each for each in client.get("/v1/runs").json()["items"] if each["id"] == run.run_id]
    assert {key: found[key] for key in row} == row


def test_series_have_at_most_as_many_points_as_asked_for(going: tuple[TestClient, Store, RunPlan]) -> None:
    client, _, run = going
    for series in client.get(f"/v1/runs/{run.run_id}?points=10").json()["series"]:
        lengths = {len(series[key]) for key in ("step", "mean", "low", "high", "smooth")}
        assert lengths == {10}
    assert client.get(f"/v1/runs/{run.run_id}?points=1").status_code == 422


def test_the_records_of_a_run_are_lines_of_json(going: tuple[TestClient, Store, RunPlan], site: Site) -> None:
    client, _, run = going
    answer = client.get(f"/v1/runs/{run.run_id}/metrics")
    assert [json.loads(line)["step"] for line in answer.text.splitlines()] == list(range(100))
    done = site.client.get(f"/v1/runs/{site.run.run_id}/metrics")
    assert len(done.text.splitlines()) == 40
    again = site.client.get(f"/v1/runs/{site.run.run_id}/metrics", headers={"if-none-match": done.headers["etag"]})
    assert again.status_code == 304


def test_a_finished_run_is_sent_once(site: Site) -> None:
    address = f"/v1/runs/{site.run.run_id}"
    first = site.client.get(address)
    again = site.client.get(address, headers={"if-none-match": first.headers["etag"]})
    assert (first.status_code, again.status_code) == (200, 304)


def test_samples_are_listed_and_sent_as_immutable_pictures(going: tuple[TestClient, Store, RunPlan]) -> None:
    client, _, run = going
    assert client.get(f"/v1/runs/{run.run_id}").json()["samples"] == [0, 50]
    found = client.get(f"/v1/runs/{run.run_id}/samples/50").json()
    assert (found["step"], [item["seed"] for item in found["items"]]) == (50, [0, 1])
    picture = client.get(found["items"][1]["url"])
    assert (picture.headers["content-type"], picture.content) == ("image/png", png(17))
    assert "immutable" in picture.headers["cache-control"]
    assert client.get(f"/v1/runs/{run.run_id}/samples/7").status_code == 404
    assert client.get(f"/v1/runs/{run.run_id}/samples/50/9").status_code == 404


def test_the_page_of_a_run_that_goes_on_asks_for_itself_and_one_that_ended_does_not(
    going: tuple[TestClient, Store, RunPlan], site: Site
) -> None:
    client, _, run = going
    page = open_page(client, f"/runs/{run.run_id}")
    live = [attributes["id"] for _, attributes in page.elements if "data-live" in attributes]
    assert live == ["live-top", "live-curves", "live-film"]
    assert "always" not in page.text and "The gradient was clipped in 100% of the last 20 steps" in page.text
    assert "step 100 of 200" in page.text
    assert "a <b>red</b> star" in page.text
    assert len([image for image in page.all("img") if "/samples/" in image["src"]]) == 4 + 2
    ended = open_page(site.client, f"/runs/{site.run.run_id}")
    assert not [name for name, attributes in ended.elements if "data-live" in attributes]


def test_all_runs_are_listed_with_method_state_and_win_rate(going: tuple[TestClient, Store, RunPlan]) -> None:
    client, _, run = going
    page = open_page(client, "/runs")
    for text in (run.run_id[:8], "rpo", "running", "100 of 200", "71.0 %"):
        assert text in page.text


def test_an_evaluation_says_whether_images_became_alike_and_what_of_held_out_pairs(site: Site) -> None:
    ends = {"base": (0.21, 0.14, 0.3), "run": (0.07, 0.04, 0.12), "change": (-0.14, -0.21, -0.07)}
    diversity = {name: dict(zip(("value", "low", "high"), each, strict=True)) for name, each in ends.items()}
    implicit = {"of": "toy", "pairs": 256, "accuracy": {"value": 0.64, "low": 0.58, "high": 0.7}}
    found = read_evaluation(site.store, {"diversity": diversity | {"of": "clip"}, "implicit": implicit})
    assert found.sentences == [
        "Diversity fell: images of one prompt are 0.0700 apart, those of the base model 0.2100 "
        "(change −0.1400, 95 %: −0.2100 to −0.0700, by clip).",
        "Of 256 held-out pairs of toy it has 64.0 % in the right order (95 %: 58.0 % to 70.0 %).",
    ]
    unsure = diversity | {"change": {"value": -0.01, "low": -0.1, "high": 0.1}}
    (sentence,) = read_evaluation(site.store, {"diversity": unsure, "implicit": None}).sentences
    assert sentence.startswith("Diversity did not surely change")


def test_two_runs_are_drawn_over_each_other_with_what_differs(going: tuple[TestClient, Store, RunPlan]) -> None:
    client, _, run = going
    other = next(each["id"] for each in client.get("/v1/runs").json()["items"] if each["state"] == "done")
    page = open_page(client, f"/runs/{run.run_id}/compare?with={other}")
    assert [plot["aria-label"].partition(", steps")[0] for plot in page.all("svg", role="img")] == [
        "Loss",
        "Implicit accuracy",
        "Learning rate",
    ]
    for text in ("method.name", "rpo", "steps", run.run_id[:8], other[:8], "always clipped"):
        assert text in page.text
    assert client.get(f"/runs/{run.run_id}/compare?with={'0' * 16}").status_code == 404


def test_a_run_of_no_steps_yet_says_so(going: tuple[TestClient, Store, RunPlan]) -> None:
    client, store, run = going
    waiting = plan_run(store, run.subset, {"model": "toyworld", "steps": 3}).run_id
    found = client.get(f"/v1/runs/{waiting}").json()
    assert (found["state"], found["steps_done"], found["series"], found["latest"]) == ("planned", 0, [], {})
    assert "No step was taken yet" in open_page(client, f"/runs/{waiting}").text


def test_studies_have_a_page_with_their_cells(site: Site) -> None:
    assert "rivals" in open_page(site.client, "/studies").text
    page = open_page(site.client, "/studies/rivals")
    for text in ("1 arm on toy", "1 of 1 cell filled", "best"):
        assert text in page.text
    assert open_page(site.client, "/studies/rivalz", 404)
