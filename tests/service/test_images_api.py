"""GET /v1/images: bytes by pointer, thumbnails, caching, hostile bytes and names."""

from __future__ import annotations

import io

import pytest
from pickapic_factory import jpeg
from PIL import Image
from service_factory import Site, png

from ranking.datasets import get_dataset
from ranking.names import sha256_hex


def test_an_image_comes_as_it_was_stored(site: Site) -> None:
    answer = site.client.get("/v1/images/img-3?dataset=toy")
    assert (answer.status_code, answer.content) == (200, jpeg("img-3"))
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["etag"] == f'"sha256-{sha256_hex(jpeg("img-3"))}"'


def test_the_type_is_that_of_the_bytes_and_not_of_the_column(site: Site) -> None:
    answer = site.client.get("/v1/images/h1-a?dataset=hostile")
    assert (answer.headers["content-type"], answer.content) == ("image/png", png(600))


def test_a_thumbnail_fits_and_is_never_enlarged(site: Site) -> None:
    large = Image.open(io.BytesIO(site.client.get("/v1/images/h1-a?dataset=hostile&size=256").content))
    assert (large.format, large.size) == ("WEBP", (256, 256))
    small = Image.open(io.BytesIO(site.client.get("/v1/images/img-3?dataset=toy&size=256").content))
    stored = Image.open(io.BytesIO(jpeg("img-3"))).convert("RGB")
    assert (small.format, small.size) == ("WEBP", stored.size)
    # Small pictures lose nothing: their pixels are what raters judged.
    assert list(small.convert("RGB").get_flattened_data()) == list(stored.get_flattened_data())


def test_a_thumbnail_that_scoring_did_not_make_is_made_again_and_kept_nowhere(site: Site) -> None:
    address = "/v1/images/img-5?dataset=toy&size=512"
    first = site.client.get(address)
    assert first.status_code == 200 and site.client.get(address).content == first.content
    assert site.store.list("thumbs") == []


def test_an_address_with_the_revision_may_be_kept_for_ever(site: Site) -> None:
    revision = get_dataset(site.store, "toy").revision_sha
    fixed = site.client.get(f"/v1/images/img-3?dataset=toy&v={revision[:12]}")
    assert "immutable" in fixed.headers["cache-control"]
    for query in ("", "&v=", f"&v={revision[:4]}", "&v=000000000000"):
        assert site.client.get(f"/v1/images/img-3?dataset=toy{query}").headers["cache-control"] == "private, no-cache"


@pytest.mark.parametrize("size", ["", "&size=256"])
def test_a_known_image_is_not_sent_again(site: Site, size: str) -> None:
    address = f"/v1/images/img-3?dataset=toy{size}"
    tag = site.client.get(address).headers["etag"]
    again = site.client.get(address, headers={"if-none-match": tag})
    assert (again.status_code, again.content) == (304, b"")
    head = site.client.head(address)
    assert (head.status_code, head.content, head.headers["etag"]) == (200, b"", tag)


@pytest.mark.parametrize("size", ["", "&size=256"])
def test_bytes_that_are_no_image_are_never_sent(site: Site, size: str) -> None:
    answer = site.client.get(f"/v1/images/h0-a?dataset=hostile{size}")
    assert (answer.status_code, answer.json()["code"]) == (422, "image-corrupt")
    missing = site.client.get(f"/v1/images/h0-b?dataset=hostile{size}")
    assert (missing.status_code, missing.json()["code"]) == (404, "image-missing")


@pytest.mark.parametrize(
    "uid",
    [
        "nope",
        "..%2f..%2f..%2fetc%2fpasswd",
        "%2fetc%2fpasswd",
        "..",
        "%00",
        "a%2Fb",
        "img-3'--",
        "*",
        "%F0%9F%98%80",
        "x" * 5000,
    ],
)
def test_a_uid_is_looked_up_and_never_opened(site: Site, uid: str) -> None:
    for size in ("", "&size=256"):
        answer = site.client.get(f"/v1/images/{uid}?dataset=toy{size}")
        assert answer.status_code == 404, answer.text
        assert answer.json()["code"] in ("image-missing", "not-found")


@pytest.mark.parametrize("query", ["size=64", "size=1e9", "size=-1", "size=256&colour=red", "format=svg"])
def test_other_sizes_and_parameters_are_refused(site: Site, query: str) -> None:
    assert site.client.get(f"/v1/images/img-3?dataset=toy&{query}").status_code == 422


def test_a_source_that_is_gone_is_said_without_its_path(site: Site, tmp_path_factory: pytest.TempPathFactory) -> None:
    source = get_dataset(site.store, "fresh").sources[0].uri
    from pathlib import Path

    hidden = Path(source).rename(f"{source}.away")
    try:
        answer = site.client.get("/v1/images/img-1001?dataset=fresh")
    finally:
        hidden.rename(source)
    assert (answer.status_code, answer.json()["code"]) == (503, "source-gone")
    assert str(tmp_path_factory.getbasetemp()) not in answer.text
