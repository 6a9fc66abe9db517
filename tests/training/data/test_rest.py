"""Training on what another machine serves, by a real server that fails as it is told."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pickapic_factory import rows
from rest_server import Told, served
from subsets import all_pairs

from ranking.errors import PairsieveError, StoreError, UsageError
from ranking.flags.taking import take_down
from ranking.runs import plan_run
from ranking.store.blobs import Store
from ranking.subsets.catalog import Subset, list_subsets, subset_pairs
from ranking.subsets.foreign import foreign_keys
from training.caches.provide import load_material
from training.config import TrainConfig
from training.data.order import Visit
from training.data.pairs import PairSource, from_store
from training.data.rest import fetch_subset, from_rest, source_of
from training.data.server import Server, ServerError
from training.intent import look
from training.models.load import load_model


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of another machine's store, and its subset of nine pairs, one of which has no picture."""
    folder = tmp_path_factory.mktemp("theirs")
    first, *others = rows(14)
    subset = all_pairs(Store.open(folder / "store"), folder, [replace(first, raw=(("jpg_0", b"no picture"),)), *others])
    return folder / "store", subset.ref


@pytest.fixture(scope="module")
def running(theirs: tuple[Path, str]) -> Iterator[Told]:
    with served(Store.open(theirs[0])) as told:
        yield told


@pytest.fixture
def server(running: Told) -> Told:
    """Their server, well behaved as yet."""
    running.paths.clear()
    running.tokens.clear()
    running.headers.clear()
    running.most, running.fault = 0, lambda path: None
    return running


@pytest.fixture
def ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store that has nothing of theirs."""
    monkeypatch.setenv("PAIRSIEVE_CACHE", str(tmp_path / "cache"))
    return Store.open(tmp_path / "ours")


def uids(source: PairSource) -> list[str]:
    found: list[str] = source.rows.uids.to_pylist()
    return found


def test_batches_from_a_server_are_those_from_its_store(
    theirs: tuple[Path, str], server: Told, ours: Store, tiny_model: Path
) -> None:
    store = Store.open(theirs[0])
    (subset,) = list_subsets(store)
    fetched = fetch_subset(ours, server.url, theirs[1])
    assert fetched.ref == subset.ref
    config = TrainConfig(model=str(tiny_model), device="cpu", evaluation=None, cache={"latents": False})
    model = load_model(str(tiny_model), device="cpu")
    here, there = (
        load_material(source, model, config) for source in (source_of(ours, fetched), from_store(store, subset))
    )
    assert (len(here), here.skipped) == (len(there), there.skipped) == (subset.rows - 1, 1)
    visits = [Visit(place, 1) for place in range(len(here))]
    mine, other = here.batch(visits), there.batch(visits)
    assert torch.equal(mine.latents, other.latents) and mine.prompts == other.prompts
    assert here.rows.fingerprint == there.rows.fingerprint


def test_a_run_is_planned_on_a_fetched_subset_which_is_no_subset_of_this_store(
    theirs: tuple[Path, str], server: Told, ours: Store
) -> None:
    name = theirs[1].partition("@")[0]
    assert fetch_subset(ours, server.url, name).ref == theirs[1]
    assert plan_run(ours, theirs[1], {"steps": 1}).subset == theirs[1]
    assert list_subsets(ours) == []


def test_held_out_pairs_that_only_the_other_store_could_choose_are_refused_before_training(
    theirs: tuple[Path, str], server: Told, ours: Store, tiny_model: Path
) -> None:
    fetched = fetch_subset(ours, server.url, theirs[1])
    config = TrainConfig(model=str(tiny_model), device="cpu", evaluation={"held_out": {}})
    with pytest.raises(UsageError, match=r"only its own store knows") as refused:
        look(ours, fetched.ref, config)
    assert "evaluation.held_out.subset" in refused.value.hint
    assert server.images() == []


def test_an_unknown_subset_is_refused_with_the_servers_words(server: Told, ours: Store) -> None:
    with pytest.raises(PairsieveError, match="dogs"):
        fetch_subset(ours, server.url, "dogs")


@pytest.mark.parametrize("field", ["recipe", "sha256", "snapshot_sha", "version"])
def test_a_record_from_which_its_version_does_not_follow_is_refused(
    theirs: tuple[Path, str], server: Told, ours: Store, field: str
) -> None:
    with Server(server.url)._http as http:
        record = http.get(f"{server.url}/v1/subsets/{theirs[1]}").json()
    changed: dict[str, Any] = {"recipe": record["recipe"] | {"seed": 1}}
    record[field] = changed.get(field, "0" * len(record[field]))
    server.fault = lambda path: (200, json.dumps(record).encode()) if path.startswith("/v1/subsets/") else None
    with pytest.raises(StoreError, match=r"does not follow|gives all@"):
        fetch_subset(ours, server.url, theirs[1])
    assert foreign_keys(ours) == []


def test_pairs_with_another_hash_than_the_record_names_are_refused_before_anything_is_spent(
    theirs: tuple[Path, str], server: Told, ours: Store
) -> None:
    server.fault = lambda path: (200, b"PAR1 others") if path.endswith("/pairs") else None
    with pytest.raises(ServerError, match="another sha256 than its record names") as refused:
        fetch_subset(ours, server.url, theirs[1])
    assert "\n" not in str(refused.value)
    assert foreign_keys(ours) == [] and server.images() == []


def test_pairs_that_were_damaged_here_are_refused_and_come_again(
    theirs: tuple[Path, str], server: Told, ours: Store
) -> None:
    fetched = fetch_subset(ours, server.url, theirs[1])
    ours.local(fetched.pairs_key).chmod(0o644)
    ours.local(fetched.pairs_key).write_bytes(b"PAR1")
    with pytest.raises(StoreError, match="damaged"):
        from_rest(ours, fetched)
    assert len(from_rest(ours, fetch_subset(ours, server.url, theirs[1])).rows)


def test_pictures_are_fetched_once_and_at_most_so_many_at_a_time(
    theirs: tuple[Path, str], server: Told, ours: Store
) -> None:
    source = from_rest(ours, fetch_subset(ours, server.url, theirs[1]), connections=2)
    first = dict(source.pictures(uids(source)))
    assert sorted(first) == sorted(uids(source)) and sum(isinstance(each, bytes) for each in first.values()) > 9
    assert len(server.images()) == len(first) and server.most == 2
    server.paths.clear()
    again = dict(source.pictures(uids(source)))
    unreadable = [uid for uid, found in first.items() if not isinstance(found, bytes)]
    # What could not be read may be mended there, so it is asked for again; nothing else is.
    assert server.images() == [f"/v1/images/{uid}" for uid in unreadable]
    assert {uid: again[uid] for uid in again if uid not in unreadable} == {
        uid: first[uid] for uid in first if uid not in unreadable
    }


def test_a_server_that_goes_away_for_a_while_does_not_end_the_run(
    theirs: tuple[Path, str], server: Told, ours: Store
) -> None:
    fetched = fetch_subset(ours, server.url, theirs[1])
    faults = iter([(503, b""), (0, b"half an ima"), (429, b"")])
    server.fault = lambda path: next(faults, None) if path.startswith("/v1/images/") else None
    source = from_rest(ours, fetched, connections=1)
    assert all(isinstance(found, bytes) for _, found in source.pictures(uids(source)[2:5]))
    assert len(server.images()) == 6


def test_a_server_that_stays_away_ends_the_run_in_one_line() -> None:
    told = r"http://127.0.0.1:9 does not answer .*what has arrived is kept"
    with Server("http://127.0.0.1:9", patience=0.1) as away, pytest.raises(ServerError, match=told):
        away.json("/v1/takedowns")


def test_bytes_that_are_not_those_of_their_etag_end_the_run(
    theirs: tuple[Path, str], server: Told, ours: Store
) -> None:
    source = from_rest(ours, fetch_subset(ours, server.url, theirs[1]))
    server.headers["etag"] = f'"sha256-{"0" * 64}"'
    server.fault = lambda path: (200, b"\xff\xd8\xff other bytes") if path.startswith("/v1/images/") else None
    with pytest.raises(ServerError, match="not those that their ETag names"):
        dict(source.pictures(uids(source)))


def test_a_picture_damaged_in_the_cache_is_fetched_again(
    theirs: tuple[Path, str], server: Told, ours: Store, tmp_path: Path
) -> None:
    source = from_rest(ours, fetch_subset(ours, server.url, theirs[1]))
    (uid, data), *_ = source.pictures([uids(source)[3]])
    (path,) = (each for each in (tmp_path / "cache").rglob("*") if each.is_file())
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    server.paths.clear()
    assert dict(source.pictures([uid])) == {uid: data}
    assert server.images() == [f"/v1/images/{uid}"]


def test_a_picture_that_was_taken_down_is_not_trained_on_even_where_it_is_kept(
    theirs: tuple[Path, str], ours: Store, tmp_path: Path
) -> None:
    shutil.copytree(theirs[0], tmp_path / "copy")
    store = Store.open(tmp_path / "copy")
    (subset,) = list_subsets(store)
    named = subset_pairs(store, subset)["winner_uid"][0].as_py()
    with served(store) as told:
        fetched = fetch_subset(ours, told.url, subset.ref)
        source = from_rest(ours, fetched)
        before = dict(source.pictures(uids(source)))
        take_down(store, named, by="dpo", why="private", door="cli")
        after = from_rest(ours, fetched)
        gone = sum(named in pair for pair in _sides(store, subset))
        assert (after.rows.taken_down, len(after.rows)) == (gone, subset.rows - gone)
        later = dict(after.pictures(uids(source)))
        assert isinstance(before[named], bytes) and not isinstance(later[named], bytes)


def test_the_token_goes_to_the_server_and_not_where_it_redirects_to(
    theirs: tuple[Path, str], server: Told, ours: Store
) -> None:
    fetch_subset(ours, server.url, theirs[1], token="secret")
    assert server.tokens == {"Bearer secret"}
    server.headers["location"] = f"{server.url}/elsewhere"
    server.fault = lambda path: (302, b"") if path != "/elsewhere" else None
    with pytest.raises(ServerError, match="answers 302"):
        fetch_subset(ours, server.url, theirs[1], token="secret")
    assert "/elsewhere" not in server.paths
    server.fault = lambda path: (401, b"")
    with pytest.raises(ServerError, match="PAIRSIEVE_TOKEN"):
        fetch_subset(ours, server.url, theirs[1])


@pytest.mark.parametrize("url", ["http://example.org", "ftp://127.0.0.1", "127.0.0.1:8765", "https://a:b@example.org"])
def test_an_address_that_others_could_listen_in_on_is_refused(url: str, ours: Store) -> None:
    with pytest.raises(UsageError, match="no address of a server"):
        fetch_subset(ours, url, "all")


def _sides(store: Store, subset: Subset) -> list[tuple[str, str]]:
    table = subset_pairs(store, subset)
    return list(zip(table["winner_uid"].to_pylist(), table["loser_uid"].to_pylist(), strict=True))
