"""GET /v1/subsets: pages by rank, whole files, ETags, ranges."""

from __future__ import annotations

import io
import json

import pyarrow.parquet as pq
import pytest
from service_factory import Site

from ranking.names import sha256_hex
from ranking.subsets.catalog import subset_pairs

PARQUET, JSONL = "application/vnd.apache.parquet", "application/jsonl"


def url(site: Site, suffix: str = "") -> str:
    return f"/v1/subsets/{site.subset.ref}{suffix}"


def test_a_subset_shows_its_recipe_statistics_and_files(site: Site) -> None:
    assert [each["ref"] for each in site.client.get("/v1/subsets").json()["items"]] == [site.subset.ref]
    shown = site.client.get(url(site)).json()
    assert shown["recipe"] == site.subset.recipe
    assert shown["statistics"]["after"]["pairs"] == site.subset.rows == 10
    assert site.client.get("/v1/subsets/best@latest").json() == shown
    for file in shown["files"]:
        answer = site.client.get(file["url"])
        assert len(answer.content) == file["bytes"]
        assert sha256_hex(answer.content) == file["sha256"]
        assert answer.headers["content-type"] == file["media_type"]


@pytest.mark.parametrize("limit", [1, 3, 10, 500])
def test_pages_by_rank_put_together_are_the_subset(site: Site, limit: int) -> None:
    seen, next_url = [], f"{url(site)}/pairs?limit={limit}"
    while next_url:
        page = site.client.get(next_url).json()
        assert (page["total"], page["snapshot"]) == (10, site.snapshot.n)
        seen += page["items"]
        next_url = page["next_url"]
    expected = subset_pairs(site.store, site.subset).to_pylist()
    assert [{name: item[name] for name in expected[0]} for item in seen] == expected
    assert [item["rank"] for item in seen] == list(range(1, 11))


def test_the_whole_subset_comes_as_parquet_and_as_json_lines(site: Site) -> None:
    expected = subset_pairs(site.store, site.subset)
    for query, accept in (("?format=parquet", "*/*"), ("", PARQUET), ("", f"{JSONL};q=0.5, {PARQUET}")):
        answer = site.client.get(url(site, f"/pairs{query}"), headers={"accept": accept})
        assert answer.headers["content-type"] == PARQUET
        assert pq.read_table(io.BytesIO(answer.content)).equals(expected)
    for query, accept in (("?format=jsonl", "text/html"), ("", JSONL), ("", "application/x-ndjson")):
        answer = site.client.get(url(site, f"/pairs{query}"), headers={"accept": accept})
        assert answer.headers["content-type"] == JSONL
        assert [json.loads(line) for line in answer.text.splitlines()] == expected.to_pylist()
        assert answer.headers["vary"] == "Accept"


def test_a_format_that_cannot_be_given_is_406(site: Site) -> None:
    answer = site.client.get(url(site, "/pairs"), headers={"accept": "text/csv"})
    assert (answer.status_code, answer.json()["code"]) == (406, "not-acceptable")
    assert site.client.get(url(site, "/pairs?format=csv")).status_code == 422


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_a_file_has_a_strong_etag_and_is_not_sent_twice(site: Site, kind: str) -> None:
    address = url(site, f"/pairs?format={kind}")
    first = site.client.get(address)
    tag = first.headers["etag"]
    assert tag == f'"sha256-{sha256_hex(first.content)}"'
    assert "immutable" in first.headers["cache-control"]
    for known in (tag, f'"other", {tag}', f"W/{tag}", "*"):
        again = site.client.get(address, headers={"if-none-match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert site.client.get(address, headers={"if-none-match": '"other"'}).status_code == 200
    head = site.client.head(address)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(first.content))
    assert head.headers["etag"] == tag


def test_the_address_of_the_latest_version_is_not_immutable(site: Site) -> None:
    answer = site.client.get("/v1/subsets/best@latest/pairs?format=parquet")
    assert "immutable" not in answer.headers["cache-control"]


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [("bytes=0-9", 0, 10), ("bytes=5-", 5, None), ("bytes=-7", -7, None), ("bytes=3-999999", 3, None)],
)
def test_a_range_gives_that_part(site: Site, asked: str, start: int, end: int | None) -> None:
    address = url(site, "/pairs?format=parquet")
    whole = site.client.get(address)
    part = site.client.get(address, headers={"range": asked})
    assert part.status_code == 206
    assert part.content == whole.content[start:end]
    assert part.headers["content-range"].endswith(f"/{len(whole.content)}")
    other = site.client.get(address, headers={"range": asked, "if-range": '"another-version"'})
    assert (other.status_code, other.content) == (200, whole.content)


@pytest.mark.parametrize(
    "asked", ["bytes=9-3", "bytes=-", "lines=1-2", "bytes=0-1,4-5", "bytes=x-y", "bytes=" + "9" * 99]
)
def test_a_range_that_makes_no_sense_gives_the_whole(site: Site, asked: str) -> None:
    assert site.client.get(url(site, "/pairs?format=parquet"), headers={"range": asked}).status_code == 200


def test_a_range_beyond_the_end_is_416(site: Site) -> None:
    answer = site.client.get(url(site, "/pairs?format=parquet"), headers={"range": "bytes=999999-"})
    assert (answer.status_code, answer.json()["code"]) == (416, "range-not-satisfiable")
    assert answer.headers["content-range"].startswith("bytes */")


def test_a_cursor_of_another_listing_is_refused(site: Site) -> None:
    of_pairs = site.client.get("/v1/pairs?dataset=toy&limit=5").json()["next"]
    for cursor in (of_pairs, "AAAA", ""):
        answer = site.client.get(url(site, "/pairs"), params={"cursor": cursor})
        assert (answer.status_code, answer.json()["code"]) == (400, "cursor-mismatch")


@pytest.mark.parametrize(
    ("ref", "status"),
    [
        ("worst@latest", 404),
        ("best@000000000000", 404),
        ("best@nonsense", 422),
        ("..%2f..%2fetc", 404),
        ("..%5c..", 422),
        ("%2e%2e", 422),
        ("best@..%2fx", 404),
        ("con@latest", 422),
        ("%00", 422),
        ("B" * 300, 422),
    ],
)
def test_a_name_that_is_none_never_reaches_the_disk(site: Site, ref: str, status: int) -> None:
    answer = site.client.get(f"/v1/subsets/{ref}")
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
