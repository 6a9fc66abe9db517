"""GET /v1/pairs: paging, sorting, filtering, cursors, one pair."""

from __future__ import annotations

import math
import threading
from pathlib import Path
from typing import Any

import pytest
from service_factory import Site, create_snapshot, hashed, ingest, rows, score_all, serving, write

from ranking.errors import UsageError
from ranking.store.blobs import Store
from service import beside


def everything(site: Site, **query: Any) -> list[dict[str, Any]]:
    answer = site.client.get("/v1/pairs", params={"dataset": "toy", "limit": 500, **query})
    assert answer.status_code == 200, answer.text
    return list(answer.json()["items"])


def value_of(pair: dict[str, Any], field: str) -> Any:
    """The value that `field` names, read out of the API's own object."""
    scorer, _, part = field.partition(".")
    if part:
        name = {"0": "image_0", "1": "image_1"}.get(part, part)
        return pair["scores"][scorer][name]
    return pair[field]


SORTS = [None, "pair_id", "-pair_id", "beta.gap", "-beta.gap", "-votes", "prompt", "created_at", "-winner"]


@pytest.mark.parametrize(("sort", "limit"), [*((sort, 7) for sort in SORTS), ("-beta.gap", 2), (None, 500)])
def test_pages_put_together_are_the_whole_sorted_list(site: Site, sort: str | None, limit: int) -> None:
    field, descending = (sort or "pair_id").removeprefix("-"), (sort or "").startswith("-")
    url: str | None = f"/v1/pairs?dataset=toy&limit={limit}" + (f"&sort={sort}" if sort else "")
    seen = []
    while url:
        page = site.client.get(url).json()
        assert len(page["items"]) <= limit
        assert page["total"] == 60
        assert page["snapshot"] == site.snapshot.n
        assert (page["next"] is None) == (page["next_url"] is None)
        seen += page["items"]
        url = page["next_url"]
    by_id = sorted(everything(site), key=lambda pair: pair["pair_id"])
    known = [pair for pair in by_id if value_of(pair, field) is not None]
    expected = sorted(known, key=lambda pair: value_of(pair, field), reverse=descending)
    if descending:  # reverse=True keeps equal elements in order, as a stable sort does
        assert [value_of(p, field) for p in expected] == sorted((value_of(p, field) for p in known), reverse=True)
    expected += [pair for pair in by_id if value_of(pair, field) is None]
    assert [pair["pair_id"] for pair in seen] == [pair["pair_id"] for pair in expected]


def test_the_link_header_names_the_next_page(site: Site) -> None:
    answer = site.client.get("/v1/pairs?dataset=toy&limit=10")
    assert answer.headers["link"] == f'<{answer.json()["next_url"]}>; rel="next"'
    assert "link" not in site.client.get("/v1/pairs?dataset=toy&limit=500").headers


@pytest.mark.parametrize(
    ("query", "keeps"),
    [
        ("alpha.0__gt=0.5", lambda p: p["scores"]["alpha"]["image_0"] > 0.5),
        (
            "alpha.gap__gte=-0.25",
            lambda p: p["scores"]["alpha"]["gap"] is not None and p["scores"]["alpha"]["gap"] >= -0.25,
        ),
        ("beta.gap__lt=-1e0&votes__eq=2", lambda p: (p["scores"]["beta"]["gap"] or 0) < -1 and p["votes"] == 2),
        ("is_tie=true", lambda p: p["is_tie"]),
        ("is_tie__ne=true", lambda p: not p["is_tie"]),
        ("winner__isnull=false", lambda p: p["winner"] is not None),
        ("beta.0__isnull=true", lambda p: p["scores"]["beta"]["image_0"] is None),
        ("beta.status_0=corrupt", lambda p: p["scores"]["beta"]["status_0"] == "corrupt"),
        ("prompt__in=prompt 1,prompt 4", lambda p: p["prompt"] in ("prompt 1", "prompt 4")),
        ("winner=1&agree_votes__lte=1", lambda p: p["winner"] == 1 and p["agree_votes"] <= 1),
        ("created_at__lt=2024-01-01T00:00:30", lambda p: p["created_at"] < "2024-01-01T00:00:30"),
    ],
)
def test_a_filter_keeps_exactly_the_pairs_it_describes(site: Site, query: str, keeps: Any) -> None:
    expected = {pair["pair_id"] for pair in everything(site) if keeps(pair)}
    assert 0 < len(expected) < 60, "the filter must tell pairs apart"
    answer = site.client.get(f"/v1/pairs?dataset=toy&limit=500&{query}").json()
    assert {pair["pair_id"] for pair in answer["items"]} == expected
    assert answer["total"] == len(expected)


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("colour=red", "query/colour"),
        ("alpha.0__like=1", "query/alpha.0__like"),
        ("alpha.0__gt=abc", "query/alpha.0__gt"),
        ("alpha.0__gt=NaN", "query/alpha.0__gt"),
        ("alpha.0__gt=1e999", "query/alpha.0__gt"),
        ("is_tie=perhaps", "query/is_tie"),
        ("created_at__gt=yesterday", "query/created_at__gt"),
        ("sort=colour", "query/sort"),
        ("sort=--alpha.0", "query/sort"),
        ("limit=0", "query/limit"),
        ("limit=501", "query/limit"),
        ("alpha.0%22%20OR%201=1", 'query/alpha.0" OR 1'),
        ("sort=pair_id;DROP TABLE wide_0", "query/sort"),
        ("prompt__in=" + ",".join(map(str, range(2000))), "query/prompt__in"),
    ],
)
def test_what_does_not_fit_is_refused_and_pointed_to(site: Site, query: str, pointer: str) -> None:
    answer = site.client.get(f"/v1/pairs?dataset=toy&{query}")
    assert answer.status_code == 422, answer.text
    assert answer.json()["code"] == "invalid-parameter"
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]


def test_too_many_filters_are_refused(site: Site) -> None:
    query = "&".join(f"alpha.0__gt={value}" for value in range(40))
    assert site.client.get(f"/v1/pairs?dataset=toy&{query}").status_code == 422


def test_a_value_is_data_and_never_sql(site: Site) -> None:
    for value in ("' OR 1=1 --", "\x00", "%", "prompt 1'; SELECT 1", "‮"):
        answer = site.client.get("/v1/pairs", params={"dataset": "toy", "prompt": value})
        assert answer.status_code == 200, answer.text
        assert answer.json()["total"] == 0
    found = site.client.get("/v1/pairs", params={"dataset": "hostile", "prompt__eq": "<script>alert(1)</script>"})
    assert found.json()["total"] == 1


def first_cursor(site: Site, query: str = "dataset=toy&limit=5&sort=-alpha.gap&is_tie=false") -> str:
    return str(site.client.get(f"/v1/pairs?{query}").json()["next"])


@pytest.mark.parametrize(
    "query",
    [
        "dataset=hostile&limit=5&sort=-alpha.gap&is_tie=false",
        "dataset=toy&limit=5&sort=alpha.gap&is_tie=false",
        "dataset=toy&limit=5&sort=-alpha.gap",
        "dataset=toy&limit=5&sort=-alpha.gap&is_tie=true",
    ],
)
def test_a_cursor_of_another_query_is_refused(site: Site, query: str) -> None:
    answer = site.client.get(f"/v1/pairs?{query}&cursor={first_cursor(site)}")
    assert (answer.status_code, answer.json()["code"]) == (400, "cursor-mismatch")


def test_a_cursor_may_be_used_with_another_limit_and_order_of_filters(site: Site) -> None:
    first = site.client.get("/v1/pairs?dataset=toy&limit=5&votes=2&is_tie=false").json()
    answer = site.client.get(f"/v1/pairs?dataset=toy&limit=3&is_tie=false&votes=2&cursor={first['next']}")
    assert answer.status_code == 200
    assert len(answer.json()["items"]) == 3


def test_a_changed_cursor_is_refused_wherever_it_was_changed(site: Site) -> None:
    query = {"dataset": "toy", "limit": 5, "sort": "-alpha.gap", "is_tie": "false"}
    cursor = first_cursor(site)
    changed = [cursor[:i] + ("A" if cursor[i] != "A" else "B") + cursor[i + 1 :] for i in range(0, len(cursor), 9)]
    for wrong in [*changed, cursor[:-1], cursor + "A", cursor + "=", "", "A", "ü", "A" * 5000, "\x00", "..%2f"]:
        answer = site.client.get("/v1/pairs", params={**query, "cursor": wrong})
        assert (answer.status_code, answer.json()["code"]) == (400, "cursor-mismatch"), wrong


def test_a_cursor_of_an_older_snapshot_is_refused(tmp_path: Any) -> None:
    store = Store.open(tmp_path / "store")
    write(tmp_path / "a" / "a.parquet", rows(8))
    ingest(store, tmp_path / "a", "toy")
    score_all(store, "toy", {"alpha@aaaaaaaa": hashed("alpha")})
    create_snapshot(store)
    with serving(store) as client:
        cursor = client.get("/v1/pairs?limit=3").json()["next"]
        score_all(store, "toy", {"gamma@cccccccc": hashed("gamma")})
        create_snapshot(store)
        assert client.app.state.parts.snapshots.refresh()  # type: ignore[attr-defined]
        answer = client.get("/v1/pairs", params={"limit": 3, "cursor": cursor})
        assert (answer.status_code, answer.json()["code"]) == (400, "cursor-mismatch")
        assert client.get("/v1/pairs?limit=3").json()["snapshot"] == 2


def test_a_pair_carries_labels_scores_and_addresses(site: Site) -> None:
    pair = next(pair for pair in everything(site) if pair["winner"] == 1 and pair["votes"] == 2)
    answer = site.client.get(f"/v1/pairs/{pair['pair_id']}?dataset=toy").json()
    assert answer == pair | {"snapshot": site.snapshot.n, "features": answer["features"]}
    assert [image["label"] for image in answer["images"]] == [0.0, 1.0]
    for score in answer["scores"].values():
        # The gap is winner − loser; image 1 won here.
        assert score["gap"] == pytest.approx(score["image_1"] - score["image_0"])
        assert score["agrees"] == (score["gap"] > 0)
    assert answer["agree_votes"] == sum(score["agrees"] for score in answer["scores"].values())
    for image in answer["images"]:
        assert site.client.get(image["url"]).headers["content-type"] == "image/jpeg"
        assert site.client.get(image["thumbnail_url"]).headers["content-type"] == "image/webp"


def test_a_missing_score_is_null_with_its_status(site: Site) -> None:
    pairs = [pair for pair in everything(site) if pair["images"][0]["uid"].endswith("7")]
    assert pairs
    for pair in pairs:
        assert pair["scores"]["beta"]["image_0"] is None
        assert pair["scores"]["beta"]["gap"] is None
        assert pair["scores"]["beta"]["agrees"] is None
        assert pair["scores"]["beta"]["status_0"] == "corrupt"


@pytest.mark.parametrize("pair_id", ["0" * 16, "nonsense", "..%2f..%2fetc%2fpasswd", "%00", "'"])
def test_an_unknown_pair_is_a_problem(site: Site, pair_id: str) -> None:
    answer = site.client.get(f"/v1/pairs/{pair_id}")
    assert answer.status_code == 404
    assert answer.json()["code"] in ("unknown-name", "not-found")


def test_several_datasets_need_a_name(site: Site) -> None:
    answer = site.client.get("/v1/pairs")
    assert answer.status_code == 422
    assert "toy" in answer.json()["detail"]
    assert site.client.get("/v1/pairs?dataset=toi").status_code == 404


def test_a_dataset_without_snapshot_says_what_to_do(site: Site) -> None:
    answer = site.client.get("/v1/pairs?dataset=fresh")
    assert (answer.status_code, answer.json()["code"]) == (409, "not-snapshotted")
    assert "snapshot create" in answer.json()["detail"]


def search(site: Site, **body: Any) -> Any:
    return site.client.post("/v1/pairs:search", json={"dataset": "toy", "limit": 500, **body})


def test_a_filter_tree_says_what_a_url_cannot(site: Site) -> None:
    def keeps(pair: dict[str, Any]) -> bool:
        gap = pair["scores"]["alpha"]["gap"]
        return pair["is_tie"] or (gap is not None and not gap < 0.3)

    tree = {"or": [{"field": "is_tie", "value": True}, {"not": {"field": "alpha.gap", "op": "lt", "value": 0.3}}]}
    answer = search(site, where=tree, sort="-alpha.gap").json()
    expected = {pair["pair_id"] for pair in everything(site) if keeps(pair)}
    assert 0 < len(expected) < 60, "the filter must tell pairs apart"
    assert {pair["pair_id"] for pair in answer["items"]} == expected
    assert (answer["total"], answer["next_url"]) == (len(expected), None)


def test_a_search_is_paged_by_its_own_cursor_only(site: Site) -> None:
    tree = {"field": "is_tie", "value": False}
    seen, cursor = [], None
    while cursor is not None or not seen:
        page = search(site, where=tree, sort="-beta.gap", limit=7, cursor=cursor).json()
        seen += [pair["pair_id"] for pair in page["items"]]
        cursor = page["next"]
    assert seen == [pair["pair_id"] for pair in everything(site, is_tie="false", sort="-beta.gap")]
    other = search(site, where=tree, sort="-beta.gap", limit=7).json()["next"]
    for body in ({"where": {"field": "is_tie", "value": True}}, {"where": tree, "sort": "beta.gap"}, {}):
        answer = search(site, **{"sort": "-beta.gap", "cursor": other, **body})
        assert (answer.status_code, answer.json()["code"]) == (400, "cursor-mismatch")
    by_url = site.client.get("/v1/pairs", params={"dataset": "toy", "is_tie": "false", "sort": "-beta.gap", "limit": 7})
    answer = search(site, where=tree, sort="-beta.gap", cursor=by_url.json()["next"])
    assert answer.json()["code"] == "cursor-mismatch", "the same question, but asked in another way"


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"where": {"field": "colour", "value": "red"}}, "body/where"),
        ({"where": {"field": "alpha.gap", "op": "gt", "value": "much"}}, "body/where"),
        ({"where": {"and": []}}, "body/where"),
        ({"where": {"not": {"not": {"not": {"not": {"not": {"not": {"field": "votes", "value": 1}}}}}}}}, "body/where"),
        ({"sort": "colour"}, "body/sort"),
        ({"limit": 501}, "body/limit"),
        ({"limit": "7"}, "body/limit"),
        ({"sql": "SELECT 1"}, "body/sql"),
    ],
)
def test_a_search_that_does_not_fit_is_refused_and_pointed_to(site: Site, body: dict[str, Any], pointer: str) -> None:
    answer = search(site, **body)
    assert answer.status_code == 422, answer.text
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]


def test_derived_fields_filter_sort_and_come_with_the_pairs(site: Site) -> None:
    plain = everything(site)
    gaps = {pair["pair_id"]: pair["scores"]["alpha"]["gap"] for pair in plain}
    deviation = next(iter(site.client.get("/v1/pairs?dataset=toy&sort=-alpha.zgap&limit=1").json()["items"]))
    unit = gaps[deviation["pair_id"]] / deviation["features"]["alpha.zgap"]
    answer = everything(site, **{"alpha.zgap__gt": "0.5", "sort": "-alpha.zgap"})
    assert [pair["pair_id"] for pair in answer] == sorted(
        (pair_id for pair_id, gap in gaps.items() if gap is not None and gap / unit > 0.5), key=lambda p: -gaps[p]
    )
    assert all(pair["features"].keys() == {"alpha.zgap"} for pair in answer)
    assert all(pair["features"]["alpha.zgap"] == pytest.approx(gaps[pair["pair_id"]] / unit) for pair in answer)
    assert {pair["pair_id"] for pair in everything(site, **{"alpha.agrees": "true"})} == {
        pair["pair_id"] for pair in plain if pair["scores"]["alpha"]["agrees"]
    }


def test_columns_that_are_kept_are_computed_when_they_are_named(site: Site) -> None:
    by_prompt: dict[str, list[float]] = {}
    for pair in everything(site):
        images = {image["uid"]: pair["scores"]["alpha"][f"image_{side}"] for side, image in enumerate(pair["images"])}
        by_prompt.setdefault(pair["prompt"], []).extend(f"{uid} {score}" for uid, score in images.items())
    means = {
        prompt: sum(float(each.split()[1]) for each in set(items)) / len(set(items))
        for prompt, items in by_prompt.items()
    }
    found = everything(site, sort="alpha.centred_0")
    assert {pair["pair_id"] for pair in found} == {pair["pair_id"] for pair in everything(site)}
    for pair in found:
        centred = pair["scores"]["alpha"]["image_0"] - means[pair["prompt"]]
        assert pair["features"]["alpha.centred_0"] == pytest.approx(centred)
    values = [pair["features"]["alpha.centred_0"] for pair in found]
    assert values == sorted(values)
    one = site.client.get(f"/v1/pairs/{found[0]['pair_id']}?dataset=toy").json()
    assert one["features"]["alpha.prompt_mean"] == pytest.approx(means[one["prompt"]])
    words = search(site, where={"field": "prompt_words", "value": 2}).json()
    assert (words["total"], words["items"][0]["features"]["prompt_words"]) == (60, 2)


def test_every_field_that_a_dataset_lists_may_be_sorted_by(site: Site) -> None:
    fields = site.client.get("/v1/datasets/toy").json()["fields"]
    made = {field["name"]: field["made"] for field in fields}
    assert (made["alpha.gap"], made["alpha.zgap"], made["pareto_0"]) == ("stored", "derived", "kept")
    for field in fields:
        if made[field["name"]] != "stored" and not field["name"].startswith(("beta.", "label_")):
            answer = site.client.get(f"/v1/pairs?dataset=toy&limit=1&sort={field['name']}")
            assert answer.status_code == 200, answer.text


def test_a_field_that_takes_long_to_compute_is_a_conflict_until_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.open(tmp_path / "store")
    write(tmp_path / "a" / "a.parquet", rows(6))
    ingest(store, tmp_path / "a", "toy")
    score_all(store, "toy", {"alpha@aaaaaaaa": hashed("alpha")})
    create_snapshot(store)
    go = threading.Event()
    compute = beside.column_file

    def slowly(*given: Any) -> Any:
        assert go.wait(30)
        return compute(*given)

    monkeypatch.setattr(beside, "column_file", slowly)
    monkeypatch.setattr(beside, "PATIENCE", 0.05)
    with serving(store) as client:
        answer = client.get("/v1/pairs?dataset=toy&sort=prompt_words")
        assert (answer.status_code, answer.json()["code"]) == (409, "not-computed")
        assert int(answer.headers["retry-after"]) > 0
        assert client.get("/v1/pairs?dataset=toy").status_code == 200, "everything else answers meanwhile"
        go.set()
        monkeypatch.setattr(beside, "PATIENCE", 30.0)
        assert client.get("/v1/pairs?dataset=toy&sort=prompt_words").status_code == 200


def test_why_a_field_cannot_be_computed_is_said_in_plain_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store.open(tmp_path / "store")
    write(tmp_path / "a" / "a.parquet", rows(6))
    ingest(store, tmp_path / "a", "toy")
    create_snapshot(store)

    def refuse(*_given: Any) -> Any:
        raise UsageError("words need a dictionary", code="bad", hint="buy one")

    monkeypatch.setattr(beside, "column_file", refuse)
    with serving(store) as client:
        answer = client.get("/v1/pairs?dataset=toy&sort=prompt_words")
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid-parameter")
    assert "words need a dictionary" in answer.json()["detail"]


def test_the_confidence_in_a_label_is_the_sum_of_its_reasons(site: Site) -> None:
    judged = everything(site, is_tie="false", sort="-label_confidence")
    for pair in (judged[0], judged[-1]):
        found = site.client.get(f"/v1/pairs/{pair['pair_id']}/confidence?dataset=toy").json()
        assert found["label_confidence"] == pair["features"]["label_confidence"]
        total = sum(reason["log_odds"] for reason in found["reasons"])
        assert found["label_confidence"] == pytest.approx(1 / (1 + math.exp(-total)), abs=1e-6)
        page = site.client.get(f"/pairs/{pair['pair_id']}?dataset=toy").text
        assert f"{100 * found['label_confidence']:.1f} %" in page
        assert all(reason["kind"] in page for reason in found["reasons"])
    tie = everything(site, is_tie="true")[0]["pair_id"]
    assert site.client.get(f"/v1/pairs/{tie}/confidence?dataset=toy").status_code == 422
    assert "Is the label right?" not in site.client.get(f"/pairs/{tie}?dataset=toy").text


def test_a_pair_has_its_gaps_in_units_of_deviation(site: Site) -> None:
    for pair in everything(site, sort="beta.zgap"):
        assert pair["scores"]["beta"]["zgap"] == pair["features"]["beta.zgap"]
