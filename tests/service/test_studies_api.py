"""Studies over REST: what was begun, how far it is, and what came out."""

from service_factory import Site

from ranking.studies import get_study


def test_a_study_shows_what_it_compares_and_how_far_it_is(site: Site) -> None:
    [listed] = site.client.get("/v1/studies").json()["items"]
    study = get_study(site.store, "rivals")
    assert (listed["name"], listed["id"]) == ("rivals", study.id)
    assert (listed["cells_done"], listed["cells_total"]) == (1, 1)
    shown = site.client.get("/v1/studies/rivals").json()
    assert shown == site.client.get(f"/v1/studies/rivals/{study.id}").json()
    assert shown["spec"] == study.spec and shown["result"] is None
    assert {key: shown[key] for key in listed} == listed


def test_a_study_that_nobody_began_is_named(site: Site) -> None:
    assert site.client.get(f"/v1/studies/rivals/{'0' * 16}").status_code == 404
    lost = site.client.get("/v1/studies/rivalz")
    assert lost.status_code in (404, 422)
    assert "rivals" in lost.json()["detail"]
