"""The view of the newest snapshot: what it holds, when it is swapped, and that its database is sealed."""

from __future__ import annotations

import threading
from pathlib import Path

import duckdb
import pytest
from service_factory import Site, create_snapshot, hashed, ingest, rows, score_all, serving, write

from ranking import duck
from ranking.store.blobs import Store
from service.snapshots import Snapshots, load_view


def test_an_empty_store_is_a_view_without_anything(tmp_path: Path) -> None:
    view = load_view(Store.open(tmp_path))
    assert (view.number, view.snapshot, dict(view.datasets), dict(view.tables)) == (None, None, {}, {})
    assert view.dataset(None) is None


def test_a_view_follows_the_store_and_an_old_one_still_works(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    snapshots = Snapshots(store)
    assert snapshots.refresh()
    assert not snapshots.refresh(), "nothing happened"
    write(tmp_path / "a" / "a.parquet", rows(6))
    ingest(store, tmp_path / "a", "toy")
    assert snapshots.refresh()
    assert (list(snapshots.view.datasets), list(snapshots.view.tables)) == (["toy"], [])
    score_all(store, "toy", {"alpha@aaaaaaaa": hashed("alpha")})
    assert not snapshots.refresh(), "scores count once a snapshot holds them"
    create_snapshot(store)
    assert snapshots.refresh()
    old = snapshots.view
    assert (old.number, old.scorers, old.tables["toy"].rows) == (1, ["alpha"], 6)
    score_all(store, "toy", {"beta@bbbbbbbb": hashed("beta")})
    create_snapshot(store)
    assert snapshots.refresh()
    assert snapshots.view.number == 2
    with old.cursor() as con:
        assert duck.arrow(con, "SELECT count(*) AS n FROM wide_0")["n"][0].as_py() == 6


def test_polling_finds_a_new_snapshot(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    snapshots = Snapshots(store, poll_seconds=0.02)
    snapshots.start()
    try:
        write(tmp_path / "a" / "a.parquet", rows(4))
        ingest(store, tmp_path / "a", "toy")
        create_snapshot(store)
        waited = threading.Event()
        for _ in range(500):
            if snapshots.view.number == 1:
                break
            waited.wait(0.02)
        assert snapshots.view.number == 1
    finally:
        snapshots.stop()


def test_a_damaged_snapshot_keeps_the_view_there_was(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    write(tmp_path / "a" / "a.parquet", rows(4))
    ingest(store, tmp_path / "a", "toy")
    create_snapshot(store)
    snapshots = Snapshots(store, poll_seconds=60)
    snapshots.start()
    store.put_if_absent("snapshots/0000000002.json", b"{}")
    snapshots._try_refresh()
    assert snapshots.view.number == 1
    assert snapshots.error is not None
    store.local("snapshots/0000000002.json").unlink()
    snapshots._try_refresh()
    snapshots.stop()


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM glob('/*')",
        "COPY wide_0 TO '/tmp/out.parquet'",
        "ATTACH '/tmp/other.db'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access=true",
        "SET lock_configuration=false",
        "SELECT * FROM site",
    ],
)
def test_the_database_opens_nothing_and_cannot_be_unsealed(site: Site, sql: str) -> None:
    view = site.client.app.state.parts.snapshots.view  # type: ignore[attr-defined]
    with view.cursor() as con, pytest.raises(duckdb.Error):
        con.execute(sql)


def test_a_scale_is_the_usual_range_of_a_scorer(site: Site) -> None:
    items = {scorer["name"]: scorer for scorer in site.client.get("/v1/scorers").json()["items"]}
    low, high = items["alpha"]["scales"]["toy"]
    assert 0 <= low < 0.2 < 0.8 < high <= 1
    low, high = items["beta"]["scales"]["toy"]
    assert -10 <= low < high <= 10


def test_a_scorer_says_how_it_fared_and_what_to_mind(site: Site) -> None:
    items = {scorer["name"]: scorer for scorer in site.client.get("/v1/scorers").json()["items"]}
    alpha, beta = items["alpha"], items["beta"]
    assert alpha["kind"] == "computed" and alpha["warnings"] == []
    found = beta["tallies"]["toy"]
    assert sum(found["without"].values()) > 0 and set(found["without"]) == {"corrupt"}
    assert sum(sum(tally["without"].values()) for tally in beta["tallies"].values()) == beta["bad_rows"]
    [warning] = [warning for warning in beta["warnings"] if warning["dataset"] == "toy"]
    assert warning["code"] == "scores-missing" and f"{found['without']['corrupt']} corrupt" in warning["message"]


def test_a_scorer_that_says_the_same_of_every_image_is_a_warning_on_the_overview(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    ingest(store, write(tmp_path / "a.parquet", rows(12)), "pets")
    score_all(store, "pets", {"flat@aaaaaaaa": lambda _uid, _prompt: 0.5, "fine@bbbbbbbb": hashed("fine")})
    create_snapshot(store)
    with serving(store) as client:
        [flat] = [each for each in client.get("/v1/scorers").json()["items"] if each["name"] == "flat"]
        [warning] = flat["warnings"]
        page = client.get("/", headers={"accept": "text/html"}).text
    assert warning["code"] == "constant-scores" and "the same score, 0.5" in warning["message"]
    assert "1 warning<" in page and warning["message"] in page
