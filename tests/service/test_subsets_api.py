"""GET /v1/subsets: pages by rank, whole files, ETags, ranges."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from service_factory import Site, create_snapshot, cut, ingest, rows, score_all, serving, write

from ranking.names import sha256_hex
from ranking.store.blobs import Store
from ranking.subsets.catalog import subset_pairs

PARQUET, JSONL = "application/vnd.apache.parquet", "application/jsonl"
ARROW = "application/vnd.apache.arrow.stream"


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
    for query, accept in (("?format=arrow", "*/*"), ("", ARROW)):
        answer = site.client.get(url(site, f"/pairs{query}"), headers={"accept": accept})
        assert answer.headers["content-type"] == ARROW
        assert pa.ipc.open_stream(answer.content).read_all().equals(expected)
    assert {"preference", "weight"} <= set(expected.column_names)


def test_a_format_that_cannot_be_given_is_406(site: Site) -> None:
    answer = site.client.get(url(site, "/pairs"), headers={"accept": "text/csv"})
    assert (answer.status_code, answer.json()["code"]) == (406, "not-acceptable")
    assert site.client.get(url(site, "/pairs?format=csv")).status_code == 422


@pytest.mark.parametrize("kind", ["parquet", "jsonl", "arrow"])
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


def test_two_subsets_are_compared_by_hand(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    write(tmp_path / "a" / "a.parquet", rows(12))
    ingest(store, tmp_path / "a", "toy")
    scores = {f"img-{index}": (index * 7 % 16) / 16 for index in range(16)}
    score_all(store, "toy", {"alpha@aaaaaaaa": lambda uid, _: scores[uid]})
    snapshot = create_snapshot(store)
    first, second = cut(store, snapshot, count=4), cut(store, snapshot, name="more", count=6)
    ours, theirs = (subset_pairs(store, each)["pair_id"].to_pylist() for each in (first, second))
    assert ours == theirs[:4], "one recipe, more of the same"
    with serving(store) as client:
        found = client.get(f"/v1/subsets/{first.ref}/compare?with={second.ref}").json()
        page = client.get(f"/subsets/{first.ref}/compare?with={second.ref}")
        assert client.get(f"/v1/subsets/{first.ref}/compare?with=none").status_code == 404
        assert client.get(f"/v1/subsets/{first.ref}/compare").status_code == 422
    assert (found["common"], found["only_a"], found["only_b"], found["flipped"]) == (4, 0, 2, 0)
    assert (found["jaccard"], found["overlap"], found["spearman"]) == (pytest.approx(4 / 6), 1.0, 1.0)
    assert found["statistics"]["pairs"] == [4, 6]
    assert {change["key"] for change in found["recipe"]} == {"name", "take.count"}
    # Of rank r of 4 and of 6 the shares are r/4 and r/6: the last moved most.
    assert [(row["pair_id"], row["rank_a"], row["rank_b"]) for row in found["moved"]] == [
        (ours[rank - 1], rank, rank) for rank in (4, 3, 2, 1)
    ]
    assert page.status_code == 200
    assert "66.7 %" in page.text
    assert page.text.count('class="outline"') == 2, "one scorer: its winners' scores and its gaps"
