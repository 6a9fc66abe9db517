"""The pages: what they show, that their links and forms work without JavaScript, and that hostile text stays text."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from html_page import Page, open_page
from service_factory import HOSTILE_PROMPTS, Site, build, serving
from starlette.testclient import TestClient

from ranking.subsets.recipe import parse_recipe
from ranking.subsets.select import create_subset
from service.dashboard.text import number, visible


def shown_pairs(page: Page) -> list[str]:
    return [article["id"].removeprefix("p-") for article in page.all("article") if "data-stop" in article]


def test_the_overview_shows_everything_the_store_holds(site: Site) -> None:
    page = open_page(site.client, "/")
    for text in ("toy", "hostile", "fresh", "not in a snapshot yet", "best", site.run.run_id[:8], "alpha", "beta"):
        assert text in page.text
    for bar in page.all("progress"):
        assert bar["value"] == bar["max"], "all jobs of this store are done"
    links = {link["href"] for link in page.all("a")}
    assert {f"/subsets/{site.subset.ref}", f"/runs/{site.run.run_id}", "/pairs?dataset=toy"} <= links


def test_every_link_of_every_page_leads_somewhere(site: Site) -> None:
    pair_id = site.client.get("/v1/pairs?dataset=toy&limit=1").json()["items"][0]["pair_id"]
    waiting = ["/", "/pairs?dataset=toy", "/pairs?dataset=hostile", "/pairs?dataset=fresh", "/docs"]
    waiting += [f"/pairs/{pair_id}", f"/subsets/{site.subset.ref}", f"/runs/{site.run.run_id}"]
    found = set()
    for url in waiting:
        page = open_page(site.client, url)
        found |= {link["href"] for link in page.all("a") if not link["href"].startswith("#")}
        found |= {
            each[key] for tag, key in (("link", "href"), ("script", "src"), ("img", "src")) for each in page.all(tag)
        }
    assert all(link.startswith("/") and not link.startswith("//") for link in found), "nothing from elsewhere"
    kinds: dict[str, str] = {}
    for link in sorted(found):  # one of each kind is enough: bars alone are dozens
        parts = urlsplit(link)
        kinds.setdefault(
            re.sub(r"[0-9a-f]{12,}|img-\d+|h\d-[ab]", "*", parts.path) + str(len(parse_qsl(parts.query))), link
        )
    for link in kinds.values():
        assert site.client.get(link).status_code in (200, 404, 422), link
        if not link.startswith("/v1/images"):
            assert site.client.get(link).status_code == 200, link


def test_the_pairs_page_shows_the_same_pairs_as_the_api(site: Site) -> None:
    query = "dataset=toy&sort=-alpha.gap&is_tie=false"
    page = open_page(site.client, f"/pairs?{query}")
    items = site.client.get(f"/v1/pairs?{query}&limit=20").json()["items"]
    assert shown_pairs(page) == [pair["pair_id"] for pair in items]
    assert "Pairs 1 to 20 of 40" in " ".join(page.text.split())
    # Every winner is marked in words, and every picture says what it is and how large it will be.
    assert page.text.count("preferred") == 20
    pictures = [image for image in page.all("img") if "/v1/images/" in image["src"]]
    assert len(pictures) == 40
    for image, pair in zip(pictures[::2], items, strict=True):
        assert image["alt"] == f"{pair['prompt']}, left image"
        assert (image["width"], image["height"], image["loading"]) == ("256", "256", "lazy")


def test_next_and_previous_walk_through_the_whole_listing(site: Site) -> None:
    url, seen, urls = "/pairs?dataset=toy&sort=-beta.gap", [], []
    while url:
        page = open_page(site.client, url)
        seen.append(shown_pairs(page))
        urls.append(url)
        following = page.all("a", rel="next")
        url = following[0]["href"] if following else ""
    assert [len(each) for each in seen] == [20, 20, 20]
    expected = site.client.get("/v1/pairs?dataset=toy&sort=-beta.gap&limit=500").json()["items"]
    assert [pair_id for each in seen for pair_id in each] == [pair["pair_id"] for pair in expected]
    for index in (2, 1):
        back = open_page(site.client, urls[index]).all("a", rel="prev")[0]["href"]
        assert shown_pairs(open_page(site.client, back)) == seen[index - 1]


def test_a_bar_of_the_histogram_leads_to_the_pairs_it_counts(site: Site) -> None:
    page = open_page(site.client, "/pairs?dataset=toy&sort=-alpha.gap&hist=alpha.gap&is_tie=false")
    bars = [link for link in page.all("a") if re.search(r": [\d,]+ of [\d,]+ pairs$", link.get("aria-label", ""))]
    assert sum(int(re.search(r": ([\d,]+) of", bar["aria-label"])[1]) for bar in bars) == 40  # type: ignore[index]
    for bar in bars[::3]:
        selected = int(re.search(r": ([\d,]+) of", bar["aria-label"])[1])  # type: ignore[index]
        query = urlsplit(bar["href"]).query
        kept = [(name, value) for name, value in parse_qsl(query) if name not in ("hist", "blind")]
        assert site.client.get("/v1/pairs", params=kept).json()["total"] == selected  # type: ignore[arg-type]
        assert f"of {selected}" in open_page(site.client, bar["href"]).text or selected == 0


@pytest.mark.parametrize(
    ("sent", "canonical"),
    [
        ("dataset=toy&by=alpha.gap&order=desc&show=&hist=votes", "/pairs?dataset=toy&sort=-alpha.gap&hist=votes"),
        ("dataset=toy&by=votes&order=asc&show=false", "/pairs?dataset=toy&sort=votes&is_tie=false"),
        ("dataset=toy&is_tie=true&show=", "/pairs?dataset=toy"),
        ("dataset=toy&field=alpha.0&op=gte&value=0.5&votes=2", "/pairs?dataset=toy&votes=2&alpha.0__gte=0.5"),
        ("dataset=toy&field=prompt&op=eq&value=+", "/pairs?dataset=toy"),
        ("dataset=toy&field=prompt&op=eq&value=prompt+1", "/pairs?dataset=toy&prompt=prompt+1"),
    ],
)
def test_the_form_leads_to_one_canonical_address(site: Site, sent: str, canonical: str) -> None:
    answer = site.client.get(f"/pairs?{sent}")
    assert (answer.status_code, answer.headers["location"]) == (303, canonical)
    assert site.client.get(canonical).status_code == 200


def test_a_filter_is_shown_and_can_be_lifted(site: Site) -> None:
    page = open_page(site.client, "/pairs?dataset=toy&votes=2&alpha.0__gte=0.5")
    removals = {
        link["aria-label"]: link["href"] for link in page.all("a") if "Remove the filter" in link.get("aria-label", "")
    }
    assert removals == {
        "Remove the filter votes = 2": "/pairs?dataset=toy&alpha.0__gte=0.5",
        "Remove the filter alpha.0 ≥ 0.5": "/pairs?dataset=toy&votes=2",
    }


def test_a_filter_that_does_not_fit_is_a_page_that_says_so(site: Site) -> None:
    page = open_page(site.client, "/pairs?dataset=toy&votes__gte=many", 422)
    assert "'many' is not a number" in page.text
    assert {"href": "/pairs", "class": "button"} in page.all("a")


def test_the_views_show_the_pairs_whose_label_all_scorers_share_or_none_does(site: Site) -> None:
    page = open_page(site.client, "/pairs?dataset=toy")
    labels = ("Every scorer agrees", "No scorer agrees", "Ties")
    links = {found["href"] for found in page.all("a") if found["href"].startswith("/pairs?dataset=toy&")}
    items = site.client.get("/v1/pairs?dataset=toy&limit=500").json()["items"]
    verdicts = {pair["pair_id"]: {score["agrees"] for score in pair["scores"].values()} for pair in items}
    expected = [
        {pair_id for pair_id, verdict in verdicts.items() if verdict == {True}},
        {pair_id for pair_id, verdict in verdicts.items() if verdict == {False}},
        {pair["pair_id"] for pair in items if pair["is_tie"]},
    ]
    ends = ("&agree_votes=2", "&votes=2&agree_votes=0", "&is_tie=true")
    for label, end, pairs in zip(labels, ends, expected, strict=True):
        assert label in page.text
        href = next(link for link in links if link.endswith(end))
        shown = set(shown_pairs(open_page(site.client, href)))
        assert shown <= pairs
        assert len(shown) == min(20, len(pairs)) > 0


def test_blind_hides_who_won_until_asked_and_mixes_the_sides(site: Site) -> None:
    html = site.client.get("/pairs?dataset=toy&blind=1").text
    page = Page(html)
    assert 'class="side chosen"' not in html
    cards = "".join(re.findall(r"<article.*?</article>", html, flags=re.DOTALL))
    visible_part = re.sub(r"<details class=\"reveal\">.*?</details>", "", cards, flags=re.DOTALL)
    assert "preferred" not in visible_part
    assert "agree" not in visible_part
    assert "rater" not in visible_part
    items = site.client.get("/v1/pairs?dataset=toy&limit=20").json()["items"]
    pictures = [image["src"] for image in page.all("img") if "/v1/images/" in image["src"]]
    swapped = [f"/{pair['images'][1]['uid']}?" in left for left, pair in zip(pictures[::2], items, strict=True)]
    assert True in swapped
    assert False in swapped


def test_hostile_prompts_stay_text_on_every_page(site: Site) -> None:
    items = site.client.get("/v1/pairs?dataset=hostile&limit=500").json()["items"]
    pages = ["/pairs?dataset=hostile", "/", *(f"/pairs/{pair['pair_id']}" for pair in items)]
    for url in pages:
        html = site.client.get(url).text
        page = Page(html)
        assert len(page.all("script")) == 1, url
        assert not [element for element in page.elements if any(name.startswith("on") for name in element[1])]
        for char in "\u202e\u200b\u2066\x07\x1b\u2028":
            assert char not in html, (url, hex(ord(char)))
    page = open_page(site.client, "/pairs?dataset=hostile")
    text = " ".join(page.text.split())
    for prompt in HOSTILE_PROMPTS:
        assert " ".join(visible(prompt).split()) in text
    assert "[U+202E]gnp.exe" in text
    alts = [image["alt"] for image in page.all("img")]
    assert any("[U+202E]" in alt for alt in alts)


def test_hostile_parameters_stay_text(site: Site) -> None:
    attack = '"><script>alert(1)</script>'
    for name in ("dataset", "sort", "cursor", "hist", "blind", "prompt", attack):
        answer = site.client.get("/pairs", params={"dataset": "toy", name: attack}, headers={"accept": "text/html"})
        assert "<script>alert" not in answer.text
        assert answer.status_code < 500
    assert "<script>alert" not in site.client.get(f"/runs/{attack}", headers={"accept": "text/html"}).text
    cookie = site.client.get("/", headers={"cookie": f"pairsieve-theme={attack}"}).text
    assert "<script>alert" not in cookie
    assert "data-theme" not in cookie.partition("<head>")[0]


def test_the_theme_cookie_is_drawn_by_the_server(site: Site) -> None:
    assert 'data-theme="dark"' in site.client.get("/", headers={"cookie": "pairsieve-theme=dark"}).text
    assert "data-theme" not in site.client.get("/").text.partition("<head>")[0]


def test_a_subset_page_shows_recipe_statistics_and_pairs_by_rank(site: Site) -> None:
    page = open_page(site.client, f"/subsets/{site.subset.ref}")
    for text in ("metric.name", "margin", "Labels that alpha shares", "Mean gap of beta", "Parquet", "winner"):
        assert text in page.text
    pictures = [image for image in page.all("img") if "/v1/images/" in image["src"]]
    assert len(pictures) == 20


def test_a_run_page_draws_its_curves_and_its_judges(site: Site) -> None:
    page = open_page(site.client, f"/runs/{site.run.run_id}")
    labels = [plot["aria-label"] for plot in page.all("svg", role="img")]
    assert [label.partition(", steps")[0] for label in labels] == ["Loss", "Implicit accuracy", "Learning rate"]
    assert "steps 0 to 39" in labels[0]
    assert "It learns the order of its pairs. After 40 steps accuracy 0." in page.text
    for text in ("71.0 %", "64.0 % to 78.0 %", "preference-toy", "evaluation.seed", "last_loss"):
        assert text in page.text


def test_an_empty_store_has_helpful_pages(empty: TestClient) -> None:
    assert "pairsieve ingest" in open_page(empty, "/").text
    assert "pairsieve ingest" in open_page(empty, "/pairs").text
    assert open_page(empty, "/docs").text
    assert "Not found" in open_page(empty, "/nothing", 404).text


def test_a_dataset_without_snapshot_has_a_helpful_page(site: Site) -> None:
    assert "snapshot create" in open_page(site.client, "/pairs?dataset=fresh").text


def test_the_docs_list_every_route_and_every_code(site: Site) -> None:
    page = open_page(site.client, "/docs")
    document: dict[str, Any] = site.client.get("/openapi.json").json()
    for path, methods in document["paths"].items():
        for method in methods:
            assert f"{method.upper()} {path}" in page.text
    assert unescape(site.client.get("/docs").text).count("problem-") >= 10


def test_a_subset_whose_metric_reads_no_scorer_has_its_pages_too(tmp_path: Path) -> None:
    store, snapshot, *_ = build(tmp_path)
    recipe = {"name": "control", "dataset": "toy", "metric": {"name": "random"}, "take": {"count": 5}}
    control = create_subset(store, parse_recipe(recipe), snapshot)
    with serving(store) as client:
        assert "control" in open_page(client, "/").text
        assert "random" in open_page(client, f"/subsets/{control.ref}").text


def test_a_listing_shows_the_derived_fields_that_it_names_but_not_to_blind_judges(site: Site) -> None:
    address = "/pairs?dataset=toy&sort=-alpha.zgap&vote_share__gt=0.2"
    pair = site.client.get(f"/v1{address}&limit=1").json()["items"][0]
    shown = number(pair["features"]["alpha.zgap"])
    html = site.client.get(address).text
    assert f"<span>alpha.zgap <b>{shown}</b></span>" in html
    assert "<span>vote_share <b>" in html
    assert "alpha.zgap <b>" not in site.client.get(f"{address}&blind=1").text


def test_a_pair_page_has_features_by_where_they_come_from(site: Site) -> None:
    site.client.get("/v1/pairs?dataset=toy&sort=language&limit=1")
    pair = site.client.get("/v1/pairs?dataset=toy&is_tie=false&limit=1").json()["items"][0]
    html = site.client.get(f"/pairs/{pair['pair_id']}?dataset=toy").text
    for heading in ("Derived features", "The prompt&#39;s text", "All scorers together", "Models and judges"):
        assert heading in html
    assert f"{number(pair['scores']['alpha']['zgap'], signed=True)}</td>" in html, "the z-gap beside the gap"
    assert "/pairs?dataset=toy&amp;language=und" in html, "more of its kind is a click away"
