"""Flags by HTTP: made, listed and withdrawn by programs and by the pages' forms; what was taken down is gone at
once."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_committee import FakeCommittee
from html_page import open_page
from pickapic_factory import Row, jpeg, rows, with_raw, write
from service_factory import Site, serving
from starlette.testclient import TestClient

from ranking.flags.taking import take_down
from ranking.ingest import ingest
from ranking.plan import create_plan
from ranking.store.blobs import Store
from ranking.store.snapshots import create_snapshot
from workers.drive import score_here

FORM = {"origin": "http://127.0.0.1", "sec-fetch-site": "same-origin"}
EVIL = "<script>alert(1)</script>"


@pytest.fixture
def own(site: Site, tmp_path: Path) -> Iterator[TestClient]:
    """A client of a store of its own, which tests may write to."""
    with serving(Store.open(shutil.copytree(site.store.workspace, tmp_path / "store"))) as client:
        yield client


def pair(client: TestClient, place: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = client.get("/v1/pairs?dataset=toy&limit=5").json()["items"][place]
    return found


def mark(client: TestClient, **more: Any) -> Any:
    body = {"pair_id": pair(client)["pair_id"], "kind": "wrong_label", "by": "ann"} | more
    return client.post("/v1/flags", json=body)


def test_a_mark_is_made_once_and_says_where_it_is(own: TestClient) -> None:
    answer = mark(own, why="three legs")
    assert answer.status_code == 201
    made = answer.json()
    assert (made["by"], made["why"], made["door"], made["withdrawn"]) == ("ann", "three legs", "api", None)
    assert own.get(answer.headers["location"]).json()["facts"]["pair_id"] == made["pair_id"]
    again = mark(own, why="four legs")
    assert (again.status_code, again.json()) == (200, made)


def test_marks_are_listed_newest_first_in_pages(own: TestClient) -> None:
    made = [mark(own, by=f"rater-{number}").json()["id"] for number in range(5)]
    found, address = [], "/v1/flags?dataset=toy&limit=2"
    for _ in range(3):
        page = own.get(address).json()
        assert page["total"] == 5
        found += [item["id"] for item in page["items"]]
        address = page["next_url"]
    assert address is None
    assert found == made[::-1]
    assert [item["by"] for item in own.get("/v1/flags?by=rater-3").json()["items"]] == ["rater-3"]
    assert own.get("/v1/flags?kind=unsafe").json()["items"] == []
    cursor = own.get("/v1/flags?limit=2").json()["next"]
    assert own.get(f"/v1/flags?limit=2&kind=unsafe&cursor={cursor}").json()["code"] == "cursor-mismatch"


def test_a_withdrawn_mark_is_listed_only_where_asked_for(own: TestClient) -> None:
    flag = mark(own).json()["id"]
    ended = own.post(f"/v1/flags/{flag}:withdraw", json={"by": "bob", "why": "two legs"}).json()
    assert (ended["of"], ended["by"], ended["new"]) == (flag, "bob", True)
    assert own.post(f"/v1/flags/{flag}:withdraw", json={"by": "eve"}).json() == ended | {"new": False}
    assert own.get("/v1/flags").json()["items"] == []
    (item,) = own.get("/v1/flags?withdrawn=true").json()["items"]
    assert (item["withdrawn_by"], item["withdrawn_why"]) == ("bob", "two legs")


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"kind": "ugly"}, 422, "kind"),
        ({"pair_id": "0" * 16}, 404, "no pair"),
        ({"dataset": "toyy"}, 404, "toy"),
        ({"by": " "}, 422, "who says so"),
        ({"why": "x" * 1001}, 422, "why"),
        ({"why": "bell \x07"}, 422, "U+0007"),
        ({"colour": "red"}, 422, "colour"),
    ],
)
def test_a_mark_that_does_not_fit_is_refused(own: TestClient, body: dict[str, str], status: int, words: str) -> None:
    answer = mark(own, **body)
    assert answer.status_code == status
    assert words in answer.text
    assert own.get("/v1/flags").json()["total"] == 0


def test_flags_that_do_not_exist_are_not_found(own: TestClient) -> None:
    assert own.get(f"/v1/flags/{'f' * 16}").status_code == 404
    assert own.post(f"/v1/flags/{'f' * 16}:withdraw", json={}).status_code == 404
    assert own.get("/v1/flags/..%2f..%2fetc").status_code in (404, 422)


def test_an_image_that_is_taken_down_is_gone_at_once(own: TestClient) -> None:
    uid = pair(own)["images"][0]["uid"]
    addresses = [f"/v1/images/{uid}?dataset=toy{size}" for size in ("", "&size=256", "&size=512")]
    assert [own.get(address).status_code for address in addresses] == [200, 200, 200]
    done = own.post("/v1/takedowns", json={"uid": uid, "dataset": "toy", "reason": "private", "by": "dpo"})
    assert done.status_code == 201
    assert done.json()["images"] == {"toy": [uid]}
    for address in addresses:
        answer = own.get(address)
        assert (answer.status_code, answer.json()["code"]) == (410, "image-taken-down")
        assert "immutable" not in answer.headers["cache-control"]
    assert own.post("/v1/takedowns", json={"uid": uid, "dataset": "toy", "reason": "again"}).status_code == 200
    (item,) = own.get("/v1/takedowns").json()["items"]
    assert (item["uid"], item["by"], item["why"]) == (uid, "dpo", "private")
    own.post(f"/v1/flags/{item['id']}:withdraw", json={"by": "dpo"})
    assert [own.get(address).status_code for address in addresses] == [200, 200, 200]


def test_copies_are_gone_too_and_their_neighbours_thumbnails_stay_right(store: Store, tmp_path: Path) -> None:
    pets = rows(12)
    pets[7] = with_raw(pets[7], jpg_0=jpeg("img-1"))
    pets[4] = with_raw(pets[4], jpg_1=jpeg("img-1"))
    write(tmp_path / "a.parquet", [*pets, Row("p", "x", "y")])
    ingest(store, tmp_path / "a.parquet", "pets")
    committee = FakeCommittee()
    score_here(store, create_plan(store, "pets", committee.scorer_ids.values()), committee)
    create_snapshot(store)
    with serving(store) as client:
        shown = {uid: client.get(f"/v1/images/{uid}?dataset=pets&size=256") for uid in ("img-1", "img-7", "img-2", "y")}
        assert {answer.status_code for answer in shown.values()} == {200}
        take_down(store, "img-1", by="dpo", why="private", door="cli")  # by another process, for all the service knows
        for uid, before in shown.items():
            after = client.get(f"/v1/images/{uid}?dataset=pets&size=256")
            if uid in ("img-1", "img-7"):
                assert after.status_code == 410
            else:
                assert after.content == before.content


def test_a_pairs_page_marks_and_withdraws_by_plain_forms(own: TestClient) -> None:
    shown = pair(own)
    address = f"/pairs/{shown['pair_id']}?dataset=toy"
    page = open_page(own, address)
    (form,) = page.all("form", id="flagging")
    assert form["method"] == "post"
    kinds = [button["value"] for button in page.all("button", name="kind")]
    assert kinds == ["wrong_label", "both_bad", "unsafe", "duplicate"]
    given = {"dataset": "toy", "pair": shown["pair_id"]}
    assert given.items() <= {field["name"]: field["value"] for field in page.all("input", type="hidden")}.items()
    said = given | {"kind": "unsafe", "by": EVIL, "why": EVIL}
    answer = own.post(form["action"], data=said, headers=FORM)
    assert (answer.status_code, answer.headers["location"]) == (303, f"{address}#flags")
    page = open_page(own, address)
    assert page.text.count(EVIL) == 2
    assert "script" not in {tag for tag, attributes in page.elements if "src" not in attributes}
    (button,) = [button for button in page.all("button", form="flagging") if "formaction" in button]
    own.post(button["formaction"], data=given | {"by": "bob", "why": "no"}, headers=FORM)
    assert own.get("/v1/flags").json()["total"] == 0
    page = open_page(own, address)
    assert "1 mark withdrawn" in page.text
    assert "withdrawn by bob" in " ".join(page.text.split())


def test_enter_in_a_field_presses_no_button_that_does_something(own: TestClient) -> None:
    mark(own)
    for address, form in ((f"/pairs/{pair(own)['pair_id']}?dataset=toy", "flagging"), ("/flags", "withdrawing")):
        elements = open_page(own, address).elements
        inside = next(place for place, (tag, found) in enumerate(elements) if tag == "form" and found.get("id") == form)
        mine = [
            found
            for place, (tag, found) in enumerate(elements)
            if tag == "button" and (found.get("form") == form or (place > inside and "form" not in found))
        ]
        # A form's default button is its first in tree order, and a disabled one submits nothing (HTML, 4.10.21.2).
        assert "disabled" in mine[0]
        assert [found for found in mine if "disabled" not in found]


def test_forms_of_other_sites_and_other_bodies_are_refused(own: TestClient) -> None:
    action = f"/pairs/{pair(own)['pair_id']}/flags"
    data = {"dataset": "toy", "kind": "unsafe", "by": "ann"}
    assert own.post(action, data=data, headers={"origin": "http://evil.example"}).status_code == 403
    assert own.post(action, json=data, headers=FORM).status_code == 422
    assert own.post(action, data=data | {"kind": ""}, headers=FORM).status_code == 422
    assert own.post(action, data=dict.fromkeys(map(str, range(99)), "x"), headers=FORM).status_code == 422
    assert own.get("/v1/flags").json()["total"] == 0


def test_the_flags_page_lists_who_what_when_and_takes_images_down(own: TestClient) -> None:
    shown = pair(own)
    mark(own, by=EVIL, why=EVIL)
    form = {"dataset": "toy", "uid": shown["images"][1]["uid"], "reason": EVIL, "by": "dpo", "pair": shown["pair_id"]}
    assert own.post("/flags/take-down", data=form, headers=FORM).status_code == 303
    page = open_page(own, "/flags")
    words = " ".join(page.text.split())
    assert "1 mark " in words
    assert "1 take-down " in words
    assert words.count(EVIL) == 3
    assert f"Wrong label by {EVIL}" in words
    # The pair is still in the snapshot, its picture is not on the page.
    beside = open_page(own, f"/pairs/{shown['pair_id']}?dataset=toy")
    assert "This image was taken down" in beside.text
    uid = shown["images"][1]["uid"]
    for address in (f"/pairs/{shown['pair_id']}?dataset=toy", "/pairs?dataset=toy"):
        sources = [picture["src"] for picture in open_page(own, address).all("img")]
        assert sources
        assert not [source for source in sources if f"/images/{uid}?" in source]


def test_a_list_of_pairs_shows_the_marks_that_stand_but_not_to_blind_judges(own: TestClient) -> None:
    assert "⚑" not in own.get("/pairs?dataset=toy").text
    made = mark(own).json()
    mark(own, by="bob")
    mark(own, by="bob", kind="both_bad")
    page = own.get("/pairs?dataset=toy").text
    assert (page.count("⚑ wrong label"), page.count("⚑ both bad")) == (1, 1)
    assert "⚑" not in own.get("/pairs?dataset=toy&blind=1").text
    for flag in own.get(f"/v1/flags?pair_id={made['pair_id']}").json()["items"]:
        own.post(f"/v1/flags/{flag['id']}:withdraw", json={"by": "ann"})
    assert "⚑" not in own.get("/pairs?dataset=toy").text
