"""The pages of runs, of several beside each other and of grids of studies: what a reader must find there, as records
say it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from html import unescape
from typing import Any

import pytest
from html_page import open_page
from made_steps import steps
from service_factory import build, cut, put_samples, serving, train_nothing
from starlette.testclient import TestClient

from ranking.runs import bury_run, plan_run, record_run_attempt
from ranking.store.blobs import Store
from ranking.studies import Study, finish_study, plan_study, study_id
from ranking.subsets.catalog import Subset
from service.dashboard.evaluations import read_evaluations
from service.dashboard.grids import axes
from service.dashboard.plots import Line, lines
from service.dashboard.run_charts import plots
from service.runs import glance, read_run
from training.watch.live import tell
from training.watch.series import series_of


@dataclass(frozen=True)
class Room:
    client: TestClient
    store: Store
    subset: Subset
    done: str


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A client and the store behind it, with a run that is done and evaluated."""
    store, snapshot, *_ = build(tmp_path_factory.mktemp("room"))
    subset = cut(store, snapshot, name="other", count=8)
    done = train_nothing(store, subset, config={"model": "toyworld", "steps": 40, "seed": 7}).run_id
    with serving(store) as client:
        yield Room(client, store, subset, done)


def words_of(client: TestClient, url: str) -> str:
    """The words of a page with one space between them, whatever elements they are in."""
    html = client.get(url, headers={"accept": "text/html"}).text
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", html)).split())


def ends(value: float, low: float, high: float) -> dict[str, float]:
    return {"value": value, "low": low, "high": high}


def judged(**more: Any) -> dict[str, Any]:
    rate = {"judge": "pickscore", "rate": 0.6, "low": 0.5, "high": 0.7, "wins": 12, "losses": 8, "ties": 0}
    return rate | {"mean_base": 20.1, "mean_run": 20.4} | more


def test_medians_ties_and_who_is_circular_stand_beside_the_win_rate(room: Room) -> None:
    scores = {"median_base": ends(20.5, 20, 21), "median_run": ends(20.75, 20.25, 21.25)}
    scores |= {"median_gain": ends(0.25, 0.125, 0.375), "gain": ends(0.3, 0.2, 0.4), "p_value": 0.0123}
    value = {
        "judges": [judged(**scores, circular=True, margin={"width": 0.03, "source": "repeatability"})],
        "implicit": {
            "of": "toy",
            "pairs": 64,
            "accuracy": ends(0.6, 0.5, 0.7),
            "buckets": [{"start": 0.0, "stop": 0.2, "accuracy": ends(0.875, 0.75, 1.0)}],
        },
        "created": "2027-01-01T00:00:00+00:00",
    }
    run = train_nothing(room.store, room.subset, config={"model": "toyworld", "steps": 40, "seed": 8}).run_id
    room.store.put_if_absent(f"runs/{run}/evaluation/{'1' * 16}.json", json.dumps(value).encode())
    text = words_of(room.client, f"/runs/{run}")
    assert "median over prompts 20.50 20.00 to 21.00 20.75 20.25 to 21.25 +0.2500 +0.1250 to +0.3750" in text
    assert "mean over images 20.10 20.40 +0.3000 +0.2000 to +0.4000" in text
    for told in ("pickscore * circular", "ties: within 0.03, its repeatability", "0.0123", "no independent verdict"):
        assert told in text
    assert "0 to 20 %, little noise Accuracy 87.5 % 75.0 % to 100.0 %" in text
    assert text.index("pickscore") < text.index("preference-toy"), "the newest comes first"


def test_an_evaluation_of_the_same_drawings_does_not_show_them_again(room: Room) -> None:
    base, run, other = (put_samples(room.store, name) for name in ("base", "run", "other"))
    drawn = {"base_samples": base, "run_samples": run}
    values = [drawn | {"created": "1"}, drawn | {"created": "2"}, drawn | {"run_samples": other, "created": "3"}]
    shown = read_evaluations(room.store, values)
    assert [(each.created, len(each.samples), each.seen) for each in shown] == [
        ("3", 3, False),
        ("2", 3, False),
        ("1", 0, True),
    ]


def test_up_to_four_runs_are_drawn_in_one_chart(room: Room) -> None:
    runs = [room.done]
    for seed in range(3):
        config = {"model": "toyworld", "steps": 40, "seed": seed}
        runs.append(train_nothing(room.store, room.subset, config=config).run_id)
    address = "/runs/compare?" + "&".join(f"run={run}" for run in runs)
    page = open_page(room.client, address)
    (loss,) = [plot for plot in page.all("svg", role="img") if plot["aria-label"].startswith("Loss")]
    assert all(f"{run[:8]} " in loss["aria-label"] for run in runs)
    curves = [line["class"] for line in page.all("polyline") if line["class"].startswith("even")]
    assert {"even first", "even second", "even third", "even fourth"} <= set(curves)
    assert "Four runs" in page.text
    differing = page.text.partition("What differs")[2]
    assert "seed" in differing and "model" not in differing
    for wrong in (f"/runs/compare?run={runs[0]}", address + f"&run={'0' * 16}", "/runs/compare"):
        assert "choose two to 4" in open_page(room.client, wrong, 422).text


def test_a_run_keeps_its_kind_of_line_where_another_measured_nothing(room: Room) -> None:
    waiting = plan_run(room.store, room.subset.ref, {"model": "toyworld", "steps": 2}).run_id
    others = [
        train_nothing(room.store, room.subset, config={"model": "toyworld", "steps": 40, "seed": seed}).run_id
        for seed in (0, 1)
    ]
    page = open_page(room.client, f"/runs/{waiting}/compare?with={others[0]}&with={others[1]}")
    drawn = {line["class"] for line in page.all("polyline") if line["class"].startswith("raw")}
    assert drawn == {"raw second", "raw third"}


def test_runs_are_listed_fifty_a_page_and_can_be_chosen(room: Room) -> None:
    for number in range(60):
        plan_run(room.store, room.subset.ref, {"model": "toyworld", "steps": 5, "number": number})
    first, second = (open_page(room.client, f"/runs?page={number}") for number in (1, 2))
    listed = [{box["value"] for box in page.all("input", type="checkbox", name="run")} for page in (first, second)]
    assert len(listed[0]) == 50
    assert len(listed[0] | listed[1]) == int(re.search(r"(\d+) runs", first.text)[1])  # type: ignore[index]
    assert first.all("a", rel="next") and not first.all("a", rel="prev") and second.all("a", rel="prev")
    assert first.all("form", action="/runs/compare")
    overview = open_page(room.client, "/")
    assert len([link for link in overview.all("a") if re.fullmatch(r"/runs/[0-9a-f]{16}", link["href"])]) == 10


def test_at_a_glance_a_run_says_the_same_without_its_curves(room: Room) -> None:
    full, brief = read_run(room.store, room.done), glance(room.store, room.done)
    assert full.curves.series and not brief.curves.series
    for part in ("headline", "steps_done", "warnings", "recent", "latest"):
        assert getattr(brief.curves, part) == getattr(full.curves, part)


def test_without_losers_the_winners_errors_are_still_drawn(room: Room) -> None:
    run = plan_run(room.store, room.subset.ref, {"model": "toyworld", "steps": 30, "method": {"name": "sft"}}).run_id
    record_run_attempt(room.store, run, worker="me")
    told = steps(20, lambda _: {"loser_error": None, "winner_change": None, "loser_change": None})
    tell(room.store, run, attempt="me", steps=30, records=told)
    (errors,) = [plot for plot in plots(read_run(room.store, run)) if plot.title == "Errors"]
    assert [name for _, name, _ in errors.legend] == ["winners"]


def test_ticks_of_small_numbers_differ() -> None:
    (series,) = series_of([{"step": n, "learning_rate": 5e-5 * n} for n in range(4)])
    ticks = re.findall(r">([\d.]+e−5|[\d.]+e−4)<", str(lines("Learning rate", [Line("rate", series)])))
    assert ticks == ["5e−5", "1e−4", "1.5e−4"]


def test_a_run_that_was_given_up_says_why_and_promises_nothing(room: Room) -> None:
    run = plan_run(room.store, room.subset.ref, {"model": "toyworld", "steps": 3, "seed": 99}).run_id
    bury_run(room.store, run, reason="the loss is not finite at step 2")
    text = open_page(room.client, f"/runs/{run}").text
    assert "the loss is not finite at step 2" in text
    assert "a few seconds after" not in text and "When it is done" not in text


def test_a_done_run_names_its_pairs_and_where_its_model_lies(room: Room) -> None:
    page = open_page(room.client, f"/runs/{room.done}")
    assert page.all("a", href=f"/subsets/{room.subset.ref}")
    assert page.all("a", href=f"/v1/runs/{room.done}/metrics")
    output = read_run(room.store, room.done).result["output"]  # type: ignore[index]
    assert f"{room.store.uri}/{output}" in page.text


def test_how_near_a_run_came_to_a_style_is_on_its_page(room: Room) -> None:
    values = {"fid": ends(0.5, 0.25, 0.75), "gram": ends(0.0625, 0.05, 0.07)}
    rows = [{"name": "base", "pictures": 96, "values": values, "change": None}]
    rows.append({"name": room.done, "pictures": 96, "values": values, "change": {"fid": ends(-0.125, -0.25, -0.0625)}})
    report = {"style": "sketch@1", "references": 96, "prompts": 24, "features": "clip-toy", "texture": "random"}
    report |= {"rows": rows, "created": "2026-01-01T00:00:00+00:00"}
    room.store.put_if_absent(f"runs/{room.done}/style/{'a' * 16}.json", json.dumps(report).encode())
    room.store.put_if_absent(f"runs/{room.done}/style/{'b' * 16}.json", b'{"style": "of another shape"}')
    text = words_of(room.client, f"/runs/{room.done}")
    assert "How near to the style sketch@1" in text
    assert "of another shape" not in text
    assert "0.5000 0.2500 to 0.7500 −0.1250 (−0.2500 to −0.0625)" in text


def test_axes_are_what_the_specs_of_a_grid_differ_in_the_budget_last() -> None:
    dpo, sft = {"name": "dpo", "beta": 2000}, {"name": "sft"}
    specs = [
        {
            "name": f"g-{number}",
            "budget": {"percent": percent},
            "dataset": "toy",
            "train": {"steps": 9, "method": method},
        }
        for number, (percent, method) in enumerate([(1.0, dpo), (20.0, dpo), (5.33, sft)])
    ]
    assert axes(specs) == {"train.method": [dpo, dpo, sft], "budget.percent": [1.0, 20.0, 5.33]}
    assert list(axes(specs)) == ["train.method", "budget.percent"]


def test_a_grid_of_studies_has_a_page_with_its_panels_and_its_table(room: Room) -> None:
    studies = []
    for percent, value in ((20.0, 0.75), (5.0, 0.5)):
        arm = {"name": "best", "metric": {"name": "margin", "scorer": "alpha"}}
        spec = {"name": f"noise-{percent:g}", "family": "noise", "dataset": "toy", "arms": [arm]}
        spec |= {"budget": {"percent": percent}, "judges": ["coverage"]}
        made = {"name": "best", "role": "arm", "seeds": [0], "recipe": room.subset.recipe}
        id = study_id(spec)
        study = Study(spec["name"], id, spec, room.subset.snapshot, (made,), ({"name": "coverage"},))
        studies.append(plan_study(room.store, study))
        found = ends(value, value - 0.125, value + 0.125) | {"seeds": {"0": value}, "over_random": None}
        result = {"name": "best", "role": "arm", "pairs": {"0": 8}, "judged": {"coverage": found | {"circular": False}}}
        judge = {"name": "coverage", "form": "share", "meaning": "share of prompts"}
        finish_study(room.store, studies[-1], {"judges": [judge], "arms": [result], "study": {}})
    assert open_page(room.client, "/studies").all("a", href="/studies/grids/noise")
    page = open_page(room.client, "/studies/grids/noise")
    (panel,) = page.all("svg", role="img")
    assert panel["aria-label"].endswith("best 5: 0.5, 20: 0.75")
    text = words_of(room.client, "/studies/grids/noise")
    assert text.index("50.0 37.5 to 62.5") < text.index("75.0 62.5 to 87.5"), "by size, not by name"
    assert {f"/studies/{study.name}/{study.id}" for study in studies} <= {link["href"] for link in page.all("a")}
    assert "noise" in open_page(room.client, "/studies/grids/nois", 404).text
