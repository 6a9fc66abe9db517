"""What holds for every route: the shape of errors, security headers, refused strangers, and the OpenAPI document."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from service_factory import Site
from starlette.testclient import TestClient

from ranking.studies import list_studies
from service import openapi
from service.problems import CODES
from service.security import HEADERS, MAX_BODY
from service.snapshots import Snapshots

DOCUMENT = Path(__file__).parents[2] / "docs" / "openapi.json"
PAGES = ("/", "/pairs", "/runs", "/studies", "/flags", "/docs", "/static/app.css", "/openapi.json")


def app_of(site: Site) -> FastAPI:
    app = site.client.app
    assert isinstance(app, FastAPI)
    return app


def addresses(site: Site) -> dict[str, str]:
    """A working address for every path of the API."""
    pair_id = site.client.get("/v1/pairs?dataset=toy&limit=1").json()["items"][0]["pair_id"]
    judged = site.client.get("/v1/pairs?dataset=toy&limit=1&is_tie=false").json()["items"][0]["pair_id"]
    values = {
        "/v1/pairs/{pair_id}/confidence": f"/v1/pairs/{judged}/confidence?dataset=toy",
        "/v1/datasets/{name}": "/v1/datasets/toy",
        "/v1/pairs": "/v1/pairs?dataset=toy",
        "/v1/pairs/{pair_id}": f"/v1/pairs/{pair_id}?dataset=toy",
        "/v1/metrics/{name}": "/v1/metrics/qsd",
        "/v1/snapshots/{n}": "/v1/snapshots/1",
        "/v1/subsets/{ref}": f"/v1/subsets/{site.subset.ref}",
        "/v1/subsets/{ref}/compare": f"/v1/subsets/{site.subset.ref}/compare?with={site.subset.ref}",
        "/v1/subsets/{ref}/pairs": f"/v1/subsets/{site.subset.ref}/pairs",
        "/v1/images/{uid}": "/v1/images/img-3?dataset=toy",
        "/v1/jobs/{job_id}": f"/v1/jobs/{site.plan.job_id}",
        "/v1/runs/{run_id}": f"/v1/runs/{site.run.run_id}",
        "/v1/runs/{run_id}/metrics": f"/v1/runs/{site.run.run_id}/metrics",
        "/v1/runs/{run_id}/samples/{step}": f"/v1/runs/{site.run.run_id}/samples/20",
        "/v1/runs/{run_id}/samples/{step}/{index}": f"/v1/runs/{site.run.run_id}/samples/20/1",
        "/v1/studies/{name}": "/v1/studies/rivals",
        "/v1/studies/{name}/{id}": f"/v1/studies/rivals/{list_studies(site.store)[0].id}",
        "/v1/flags/{flag_id}": f"/v1/flags/{flag(site)['id']}",
    }
    samples = site.client.get(f"/v1/runs/{site.run.run_id}").json()["evaluations"][0]["base_samples"]
    values["/v1/samples/{samples_id}"] = f"/v1/{samples.removesuffix('.parquet')}"
    values["/v1/samples/{samples_id}/{index}"] = f"/v1/{samples.removesuffix('.parquet')}/0"
    paths = openapi.document(app_of(site))["paths"]
    assert set(values) <= set(paths)
    return {path: values.get(path, path) for path, methods in paths.items() if "get" in methods}


def bodies(site: Site) -> dict[str, dict[str, Any]]:
    """A body that works for every path that takes one, by an address of it."""
    mark = flag(site)
    made: dict[str, tuple[str, dict[str, Any]]] = {
        "/v1/pairs:search": ("/v1/pairs:search", {"dataset": "toy"}),
        "/v1/recipes:check": ("/v1/recipes:check", {"recipe": site.subset.recipe, "rows": 2}),
        "/v1/flags": ("/v1/flags", MARK | {"pair_id": mark["pair_id"]}),
        "/v1/flags/{flag_id}:withdraw": (f"/v1/flags/{mark['id']}:withdraw", {"by": "ann", "why": "a test"}),
        "/v1/takedowns": ("/v1/takedowns", {"sha256": "0" * 64, "reason": "a test", "by": "ann"}),
    }
    paths = openapi.document(app_of(site))["paths"]
    assert set(made) == {path for path, methods in paths.items() if "post" in methods}
    return dict(made.values())


MARK = {"kind": "duplicate", "by": "ann", "dataset": "toy"}


def flag(site: Site) -> dict[str, Any]:
    """A mark that the store has: no snapshot sees it, so no other test does."""
    pair_id = site.client.get("/v1/pairs?dataset=toy&limit=1").json()["items"][0]["pair_id"]
    answer: dict[str, Any] = site.client.post("/v1/flags", json=MARK | {"pair_id": pair_id}).json()
    return answer


def check_headers(headers: Any) -> None:
    for name, value in HEADERS.items():
        assert headers[name] == value
    assert headers["cache-control"]
    assert headers["x-trace-id"]
    assert "access-control-allow-origin" not in headers
    assert "set-cookie" not in headers


def check_problem(answer: Any, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    check_headers(answer.headers)
    body: dict[str, Any] = answer.json()
    assert set(body) == {"type", "title", "status", "detail", "instance", "code", "trace_id", "errors"}
    assert (body["status"], body["code"], body["type"]) == (status, code, f"/docs#problem-{code}")
    assert CODES[code][0] == status
    assert body["detail"].strip()
    assert body["trace_id"] == answer.headers["x-trace-id"]
    for leak in ("SELECT", "read_parquet", "Traceback", "site-packages", "/tmp/", ".parquet'"):
        assert leak not in answer.text
    return body


def test_every_route_answers_with_security_headers(site: Site) -> None:
    for address in (*addresses(site).values(), *PAGES):
        answer = site.client.get(address)
        assert answer.status_code == 200, address
        check_headers(answer.headers)


def test_the_content_policy_has_no_unsafe_source(site: Site) -> None:
    policy = site.client.get("/").headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "http" not in policy
    for page in ("/", "/pairs?dataset=toy", "/docs", f"/runs/{site.run.run_id}", f"/subsets/{site.subset.ref}"):
        html = site.client.get(page).text
        for forbidden in (" style=", "<style", "javascript:", " onclick", '="http', '="//'):
            assert forbidden not in html, (page, forbidden)


def test_head_is_get_without_the_body(site: Site) -> None:
    for address in (*addresses(site).values(), *PAGES):
        head, get = site.client.head(address), site.client.get(address)
        assert (head.status_code, head.content) == (get.status_code, b""), address
        assert head.headers["content-type"] == get.headers["content-type"]


def test_what_takes_a_body_answers_programs_and_our_own_pages(site: Site) -> None:
    own: list[dict[str, str]] = [
        {},
        {"origin": "http://127.0.0.1", "sec-fetch-site": "same-origin"},
        {"content-type": "application/json; charset=utf-8"},
    ]
    for path, body in bodies(site).items():
        for headers in own:
            given = {"content-type": "application/json", **headers}
            answer = site.client.post(path, content=json.dumps(body), headers=given)
            assert answer.status_code in (200, 201), answer.text
            check_headers(answer.headers)


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:3000"},
        {"origin": "http://127.0.0.1.evil.example", "sec-fetch-site": "same-origin"},
    ],
)
def test_pages_of_other_sites_send_nothing(site: Site, headers: dict[str, str]) -> None:
    for path, body in bodies(site).items():
        check_problem(site.client.post(path, json=body, headers=headers), 403, "cross-site")
    check_problem(site.client.delete("/v1/pairs", headers=headers), 403, "cross-site")


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_a_body_that_a_form_elsewhere_could_send_is_refused(site: Site, kind: str) -> None:
    for path, body in bodies(site).items():
        answer = site.client.post(path, content=json.dumps(body), headers={"content-type": kind})
        check_problem(answer, 415, "not-json")


def test_bodies_that_are_broken_or_endless_are_refused(site: Site) -> None:
    kind = {"content-type": "application/json"}
    for path in bodies(site):
        check_problem(site.client.post(path, content="{", headers=kind), 422, "invalid-parameter")
        check_problem(site.client.post(path, content=b" " * (MAX_BODY + 1), headers=kind), 413, "body-too-large")
        for wrong in ({"colour": "red"}, [], "text"):
            check_problem(site.client.post(path, json=wrong), 422, "invalid-parameter")


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
def test_other_methods_are_refused_by_every_route(site: Site, method: str) -> None:
    takes = set(bodies(site)) if method == "POST" else set()
    for address in {*addresses(site).values(), "/", "/pairs", "/flags", "/docs"} - takes:
        answer = site.client.request(method, address)
        check_problem(answer, 405, "method-not-allowed")
        assert answer.headers["allow"] == "GET"


def test_an_unknown_parameter_is_refused_by_every_route(site: Site) -> None:
    for address in addresses(site).values():
        answer = site.client.get(address + ("&" if "?" in address else "?") + "colour=red")
        body = check_problem(answer, 422, "invalid-parameter")
        assert [error["pointer"] for error in body["errors"]] == ["query/colour"]


def test_an_unknown_address_is_a_problem(site: Site) -> None:
    for address in ("/v1", "/v1/", "/v1/colours", "/nothing", "/v2/pairs", "/static/", "/static/none.js", "/redoc"):
        check_problem(site.client.get(address), 404, "not-found")


@pytest.mark.parametrize(
    "path",
    [
        "/static/../app.py",
        "/static/%2e%2e/pages.py",
        "/static/..%2f..%2fapp.py",
        "/static/%2fetc%2fpasswd",
        "/static//etc/passwd",
        "/static/app.css%00.js",
        "/static/..%5c..%5capp.py",
    ],
)
def test_nothing_outside_the_static_folder_is_served(site: Site, path: str) -> None:
    answer = site.client.get(path)
    assert answer.status_code == 404, answer.text
    check_headers(answer.headers)


def test_another_host_is_refused_in_the_same_shape(site: Site) -> None:
    for accept in ("*/*", "text/html"):
        answer = site.client.get("/pairs", headers={"host": "evil.example", "accept": accept})
        check_problem(answer, 421, "host-not-allowed")


def test_a_bug_of_ours_is_a_problem_without_its_details(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_self: Snapshots) -> None:
        raise RuntimeError("SELECT secret FROM '/tmp/private.parquet'")

    monkeypatch.setattr(Snapshots, "view", property(broken))
    check_problem(site.client.get("/v1/pairs"), 500, "internal")
    check_problem(site.client.get("/pairs", headers={"accept": "text/html"}), 500, "internal")


def test_a_browser_gets_a_page_and_a_program_a_document(site: Site) -> None:
    html = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    assert site.client.get("/pairs/none", headers=html).headers["content-type"].startswith("text/html")
    check_problem(site.client.get("/pairs/none"), 404, "unknown-name")
    check_problem(site.client.get("/v1/pairs/none", headers=html), 404, "unknown-name")


def test_answers_have_the_shape_that_the_document_promises(site: Site) -> None:
    paths = openapi.document(app_of(site))["paths"]
    schemas = openapi.document(app_of(site))["components"]["schemas"]
    for path, address in addresses(site).items():
        answer = site.client.get(address)
        if answer.headers["content-type"] != "application/json":
            continue
        schema = paths[path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
        promised = schemas[schema["$ref"].rpartition("/")[2]]
        assert set(answer.json()) == set(promised["properties"]), path


def test_no_answer_holds_a_number_that_json_does_not_have(site: Site) -> None:
    def refuse(text: str) -> None:
        raise AssertionError(f"{text} is no JSON")

    for address in addresses(site).values():
        answer = site.client.get(address)
        if answer.headers["content-type"] == "application/json":
            json.loads(answer.text, parse_constant=refuse)


def test_every_operation_has_an_id_a_description_and_problems(site: Site) -> None:
    ids = []
    for path, methods in openapi.document(app_of(site))["paths"].items():
        assert set(methods) <= {"get", "post"}, path
        for operation in methods.values():
            ids.append(operation["operationId"])
            assert operation["description"].strip()
            assert "application/problem+json" in operation["responses"]["422"]["content"]
        assert "HTTPValidationError" not in json.dumps(methods)
    assert len(ids) == len(set(ids))


def test_the_committed_document_is_current(site: Site) -> None:
    made = openapi.rendered(app_of(site))
    committed = json.loads(DOCUMENT.read_text(encoding="utf-8"))
    assert committed == json.loads(made), "run `make docs`"


def test_the_document_is_served(empty: TestClient) -> None:
    assert empty.get("/openapi.json").json() == openapi.document(empty.app)  # type: ignore[arg-type]
