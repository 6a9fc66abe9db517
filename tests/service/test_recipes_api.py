"""GET /v1/metrics and POST /v1/recipes:check: what one may rank by, and what a recipe would select."""

from __future__ import annotations

from typing import Any

import pytest
from service_factory import Site

from ranking.metrics.registry import metrics
from ranking.subsets.catalog import list_subsets, subset_pairs

RECIPE: dict[str, Any] = {
    "name": "best",
    "dataset": "toy",
    "metric": {"name": "margin", "scorer": "alpha"},
    "take": {"count": 10},
}


def check(site: Site, recipe: dict[str, Any], **body: Any) -> Any:
    return site.client.post("/v1/recipes:check", json={"recipe": recipe, **body})


def test_every_metric_says_its_formula_source_and_options(site: Site) -> None:
    items = site.client.get("/v1/metrics").json()["items"]
    assert [item["name"] for item in items] == list(metrics())
    for item in items:
        assert all(item[key] for key in ("formula", "range", "source", "provenance_meaning"))
        assert site.client.get(f"/v1/metrics/{item['name']}").json() == item
    margin = site.client.get("/v1/metrics/margin").json()
    assert margin["options"]["required"] == ["scorer"]
    assert margin["options"]["properties"]["normalize"]["default"] == "raw"
    assert site.client.get("/v1/metrics/margins").status_code == 404


def test_a_check_shows_what_the_subset_of_the_recipe_holds_and_makes_none(site: Site) -> None:
    before = list_subsets(site.store)
    answer = check(site, RECIPE, rows=10).json()
    assert list_subsets(site.store) == before
    assert (answer["recipe"], answer["snapshot"]) == (site.subset.recipe, site.snapshot.n)
    assert (answer["counts"]["pairs"], answer["counts"]["taken"]) == (60, 10)
    kept = subset_pairs(site.store, site.subset).to_pylist()
    assert [{name: item[name] for name in kept[0]} for item in answer["items"]] == kept
    assert all(item["taken"] for item in answer["items"])
    for item in answer["items"][:1]:
        assert site.client.get(item["winner_url"]).status_code == 200
    assert check(site, RECIPE, rows=0).json()["items"] == []


def test_a_check_may_name_derived_fields_and_shows_what_is_left_out(site: Site) -> None:
    where = {"and": [{"field": "alpha.centred_0", "op": "gt", "value": 0.0}, {"field": "language", "value": "und"}]}
    answer = check(site, RECIPE | {"where": where}, rows=100).json()
    found = site.client.post("/v1/pairs:search", json={"dataset": "toy", "where": where, "limit": 500}).json()
    assert 0 < found["total"] < 60
    allowed = {pair["pair_id"]: pair for pair in found["items"]}
    assert {item["pair_id"] for item in answer["items"]} <= set(allowed)
    assert answer["counts"]["eligible"] == sum(pair["winner"] is not None for pair in allowed.values())


def test_a_recipe_that_selects_nothing_is_an_answer(site: Site) -> None:
    answer = check(site, RECIPE | {"take": {"threshold": 1e9}})
    assert (answer.status_code, answer.json()["counts"]["taken"]) == (200, 0)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"metric": {"name": "margins", "scorer": "alpha"}}, "margin"),
        ({"metric": {"name": "margin", "scorer": "alfa"}}, "alpha"),
        ({"where": {"field": "alpha.zgaps", "value": 1}}, "alpha.zgap"),
        ({"take": {"percent": 101}}, "percent"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_recipe_that_does_not_fit_is_refused_with_its_place(site: Site, change: dict[str, Any], says: str) -> None:
    answer = check(site, RECIPE | change)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid-parameter")
    assert [error["pointer"] for error in answer.json()["errors"]] == ["body/recipe"]
    assert says in answer.json()["detail"]


def test_a_recipe_of_a_dataset_that_is_not_there_or_not_snapshotted(site: Site) -> None:
    answer = check(site, RECIPE | {"dataset": "toys"})
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown-name")
    answer = check(site, RECIPE | {"dataset": "fresh"})
    assert (answer.status_code, answer.json()["code"]) == (409, "not-snapshotted")
