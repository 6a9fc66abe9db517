"""Weights are fetched once, go on where they broke off, and are under their names only when they are the right ones."""

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections import namedtuple
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from model_hub import COMMIT, ModelHub, model_hub, sha

from ranking.errors import PairsieveError
from workers.scorers.files import digests, pull, wire
from workers.scorers.files.locks import FIRST_PULL, HUB, read_lock
from workers.scorers.files.pull import check_room, fetch, survey
from workers.scorers.files.wire import TRIES, PullError
from workers.scorers.weights import Asset, digest, located

DATA = bytes(range(256)) * 20_000  # 5 MB: several pieces of a transfer
MODEL = Asset("pick/model.safetensors", source="hf://org/model@main/model.safetensors")
CONFIG = Asset("pick/config.json", source="hf://org/model@main/deep/config.json")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ModelHub]:
    monkeypatch.setenv("PAIRSIEVE_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setattr(wire.time, "sleep", lambda seconds: None)
    with model_hub() as found:
        monkeypatch.setenv("HF_ENDPOINT", found.url)
        found.files = {"model.safetensors": DATA, "deep/config.json": b"{}"}
        yield found


def fetched(*assets: Asset) -> list[Path]:
    """What a pull of these files does, without its bars."""
    found = survey(assets)
    for _, trouble in found.troubles:
        raise trouble
    check_room(found)
    return [fetch(need, lambda _: None) for need in found.needs]


def web(hub: ModelHub, **more: object) -> Asset:
    return replace(Asset("head/head.pth", source=f"{hub.url}/bytes/model.safetensors"), **more)


def parts(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "weights").rglob("*.part") if path.is_file()]


def test_files_arrive_with_the_commit_and_hash_that_the_hub_gives(
    hub: ModelHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = fetched(MODEL, CONFIG)
    assert [path.read_bytes() for path in paths] == [DATA, b"{}"]
    assert paths[0] == tmp_path / "weights" / "pick" / "model.safetensors"
    lock = read_lock(tmp_path / "weights", MODEL.name, MODEL.source)
    assert lock is not None
    assert (lock.sha256, lock.bytes, lock.commit, lock.learnt) == (sha(DATA), len(DATA), COMMIT, HUB)
    with monkeypatch.context() as patch:
        patch.setattr(digests, "sha256_file", lambda path: pytest.fail("it was hashed when it came"))
        assert digest(MODEL) == sha(DATA)
    assert sum("/revision/" in path for path, _, _ in hub.asked) == 1
    assert {token for _, _, token in hub.asked} == {"Bearer hf_secret"}
    assert parts(tmp_path) == []


def test_what_is_here_is_not_asked_for_again_even_offline(hub: ModelHub, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched(MODEL, CONFIG)
    hub.asked.clear()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    found = survey([MODEL, CONFIG])
    assert (len(found.here), found.needs, hub.asked) == (2, [], [])


def test_offline_nothing_is_asked_for(hub: ModelHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(PullError, match="HF_HUB_OFFLINE"):
        survey([MODEL])
    assert hub.asked == []


def test_a_branch_that_moves_on_does_not_move_a_scorer(hub: ModelHub, tmp_path: Path) -> None:
    fetched(CONFIG)
    hub.main = "f" * 40
    (path,) = fetched(MODEL, CONFIG)
    assert path.name == "model.safetensors"
    assert f"/resolve/{COMMIT}/" in hub.asked[-1][0]


def test_a_transfer_that_breaks_off_goes_on_from_there(hub: ModelHub) -> None:
    hub.breaks = {"model.safetensors": [3_000_000, 1_000_000]}
    (path,) = fetched(MODEL)
    assert path.read_bytes() == DATA
    assert hub.transfers() == [None, "bytes=3000000-", "bytes=4000000-"]


def test_a_pull_that_was_killed_is_gone_on_with(hub: ModelHub, tmp_path: Path) -> None:
    hub.gate = threading.Event()
    code = (
        "import test_pull_source as t; from workers.scorers.files.pull import survey, fetch; "
        "[fetch(need, lambda _: None) for need in survey([t.MODEL]).needs]"
    )
    (tmp_path / "test_pull_source.py").write_text(
        f"from workers.scorers.weights import Asset\nMODEL = Asset({MODEL.name!r}, source={MODEL.source!r})\n"
    )
    path = os.pathsep.join([str(tmp_path), *sys.path])
    child = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path})
    try:
        end = time.monotonic() + 30
        while not any(part.stat().st_size > 1_000_000 for part in parts(tmp_path)) and time.monotonic() < end:
            threading.Event().wait(0.02)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    (part,) = parts(tmp_path)
    have = part.stat().st_size
    assert 1_000_000 < have < len(DATA)
    assert located(MODEL) is None
    hub.gate.set()
    hub.gate = None
    assert survey([MODEL]).left == len(DATA) - have
    fetched(MODEL)
    assert hub.transfers()[-1] == f"bytes={have}-"
    assert digest(MODEL) == sha(DATA)


def test_two_pulls_at_once_fetch_a_file_once(hub: ModelHub) -> None:
    hub.gate = threading.Event()
    (first,) = survey([MODEL]).needs
    (second,) = survey([MODEL]).needs
    paths: list[Path] = []
    threads = [
        threading.Thread(target=lambda need=need: paths.append(fetch(need, lambda _: None))) for need in (first, second)
    ]
    for thread in threads:
        thread.start()
    threading.Event().wait(0.2)
    hub.gate.set()
    for thread in threads:
        thread.join(20)
    assert len(set(paths)) == 1
    assert len(paths) == 2
    assert len(hub.transfers()) == 1


def test_a_server_without_ranges_sends_it_all_again(hub: ModelHub) -> None:
    hub.ranges, hub.breaks = False, {"model.safetensors": [3_000_000]}
    (path,) = fetched(MODEL)
    assert path.read_bytes() == DATA


@pytest.mark.parametrize("asset", [MODEL, CONFIG])
def test_wrong_bytes_are_never_put_into_place(hub: ModelHub, tmp_path: Path, asset: Asset) -> None:
    hub.sends = {"model.safetensors": DATA[:-1] + b"!", "deep/config.json": b"[]"}
    with pytest.raises(PullError, match=r"did not arrive as it should: its (sha256|git hash)") as caught:
        fetched(asset)
    assert "\n" not in str(caught.value)
    assert located(asset) is None
    assert parts(tmp_path) == []
    hub.sends = {}
    assert fetched(asset)[0].is_file()


def test_an_old_part_that_was_damaged_is_thrown_away_and_fetched_anew(hub: ModelHub, tmp_path: Path) -> None:
    (need,) = survey([MODEL]).needs
    need.part.parent.mkdir(parents=True)
    need.part.write_bytes(b"\0" * 1_000_000)
    fetch(need, lambda _: None)
    assert hub.transfers() == ["bytes=1000000-", None]
    assert digest(MODEL) == sha(DATA)


def test_a_pin_that_the_hub_contradicts_is_refused_before_a_byte_is_fetched(hub: ModelHub) -> None:
    for asset in (replace(MODEL, sha256="0" * 64), replace(MODEL, bytes=7)):
        with pytest.raises(PullError, match="another file"):
            fetched(asset)
    assert hub.transfers() == []


def test_a_wrong_file_under_the_name_is_replaced(hub: ModelHub, tmp_path: Path) -> None:
    pinned = replace(MODEL, sha256=sha(DATA))
    place = tmp_path / "weights" / MODEL.name
    place.parent.mkdir(parents=True)
    place.write_bytes(b"rival")
    fetched(pinned)
    assert place.read_bytes() == DATA


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"/revision/": (401, {}, b"")}, "does not exist .*, or may not be read; set HF_TOKEN"),
        ({"/revision/": (403, {}, b"")}, "may not be read; set HF_TOKEN"),
        ({"/resolve/": (403, {"X-Error-Code": "GatedRepo"}, b"")}, "is gated; accept its terms"),
        ({"/revision/": (404, {"X-Error-Code": "RevisionNotFound"}, b"")}, "does not exist at .*; check its name"),
        ({"/revision/": (404, {"X-Error-Code": "RepoNotFound"}, b"")}, "does not exist .*, or may not be read"),
        ({"/resolve/": (404, {}, b"")}, "does not exist at"),
        ({"/resolve/": (429, {}, b"")}, "too many requests .*; try again later"),
        ({"/resolve/": (503, {}, b"")}, "answers 503 .*; try again later"),
        ({"/revision/": (200, {}, b"<html>")}, "is odd: it is not JSON"),
        ({"/revision/": (200, {}, b'{"sha": "../.."}')}, "is odd: it does not say which commit"),
        ({"/paths-info/": (200, {}, b"[]")}, "does not exist; check its path"),
        ({"/paths-info/": (200, {}, b'[{"type": "file", "path": "model.safetensors"}]')}, "is odd: .* without"),
        ({"/resolve/": (302, {"Location": "/org/model/resolve/round"}, b"")}, "in circles"),
        ({"/resolve/": (302, {"Location": "http://example.org/x"}, b"")}, "it is no https address"),
        ({"/resolve/": (206, {"Content-Range": "bytes 7-9/10"}, b"abc")}, "are expected"),
    ],
)
def test_a_hub_that_refuses_is_said_in_one_line(
    hub: ModelHub, tmp_path: Path, wrong: dict[str, tuple[int, dict[str, str], bytes]], message: str
) -> None:
    hub.wrong = wrong
    with pytest.raises(PullError, match=message) as caught:
        fetched(MODEL)
    assert "\n" not in str(caught.value)
    assert "hf_secret" not in str(caught.value)
    assert located(MODEL) is None


def test_a_busy_server_is_asked_again_and_in_vain_only_so_often(hub: ModelHub, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(wire.time, "sleep", pauses.append)
    for headers in ({"Retry-After": "7"}, {"RateLimit": '"resolvers";r=0;t=55'}, {"Retry-After": "86400"}, {}):
        hub.wrong = {"/resolve/": (429, headers, b"")}
        with pytest.raises(PullError):
            fetched(MODEL)
    assert pauses == [*[7.0] * 4, *[55.0] * 4, *[120.0] * 4, 0.5, 1.0, 2.0, 4.0]
    assert len(hub.transfers()) == 4 * TRIES
    monkeypatch.setattr(wire.time, "sleep", lambda _: hub.wrong.clear())
    assert fetched(MODEL)[0].read_bytes() == DATA


def test_a_network_that_is_down_is_one_line(hub: ModelHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(PullError, match=r"does not answer .*check the network, or HF_ENDPOINT"):
        fetched(MODEL)


def test_a_transfer_that_never_gets_on_is_given_up_and_kept(hub: ModelHub, tmp_path: Path) -> None:
    hub.breaks = {"model.safetensors": [1_000_000, *[0] * 20]}
    with pytest.raises(PullError, match=r"broke off .* at 1,000,000 bytes .*; run the command again"):
        fetched(MODEL)
    assert [part.stat().st_size for part in parts(tmp_path)] == [1_000_000]


def test_bytes_come_from_where_the_hub_redirects_to_without_the_token(hub: ModelHub) -> None:
    with model_hub() as other:
        other.files = hub.files
        other.breaks = {"model.safetensors": [1_000_000]}
        hub.elsewhere = other.url.replace("127.0.0.1", "localhost")
        fetched(MODEL)
        assert [(wanted, token) for _, wanted, token in other.asked] == [(None, None), ("bytes=1000000-", None)]
    assert digest(MODEL) == sha(DATA)


def test_a_model_that_was_renamed_is_followed_with_what_was_asked(hub: ModelHub) -> None:
    moved = {"revision/": "revision/main", "paths-info/": f"paths-info/{COMMIT}"}
    hub.wrong = {
        f"/org/old/{part}": (307, {"Location": f"/api/models/org/model/{now}"}, b"") for part, now in moved.items()
    }
    hub.wrong["/org/old/resolve/"] = (307, {"Location": f"/org/model/resolve/{COMMIT}/model.safetensors"}, b"")
    fetched(replace(MODEL, source="hf://org/old@main/model.safetensors"))
    assert located(MODEL) is not None
    assert {token for _, _, token in hub.asked} == {"Bearer hf_secret"}


def test_no_token_goes_over_an_open_line(hub: ModelHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://mirror.example.org")
    with pytest.raises(PullError, match="no https address; correct HF_ENDPOINT"):
        fetched(MODEL)


@pytest.mark.parametrize(
    ("home", "url", "follows"),
    [
        ("https://hub.example", "https://cdn.example/x", True),
        ("https://hub.example", "http://cdn.example/x", False),
        ("https://hub.example", "http://127.0.0.1/x", False),  # no server tells us to ask our own machine
        ("http://127.0.0.1:9", "http://localhost:8/x", True),
        ("http://127.0.0.1:9", "http://cdn.example/x", False),
        ("https://hub.example", "file:///etc/passwd", False),
    ],
)
def test_redirects_lead_to_https_only_and_to_this_machine_from_itself_only(home: str, url: str, follows: bool) -> None:
    assert wire.may_follow(home, url) is follows


def test_a_file_of_the_web_is_fixed_by_its_first_pull_and_its_host_gets_no_token(hub: ModelHub, tmp_path: Path) -> None:
    asset = web(hub)
    hub.breaks = {"model.safetensors": [3_000_000]}
    assert fetched(asset)[0].read_bytes() == DATA
    assert {token for _, _, token in hub.asked} == {None}
    assert hub.transfers() == [None, "bytes=3000000-"]
    lock = read_lock(tmp_path / "weights", asset.name, asset.source)
    assert lock is not None
    assert (lock.learnt, lock.sha256, lock.commit) == (FIRST_PULL, sha(DATA), None)
    # Another file behind the same address is another scorer, and is not taken for this one.
    (tmp_path / "weights" / asset.name).unlink()
    hub.files = {"model.safetensors": DATA + b"more"}
    with pytest.raises(PullError, match="its sha256 is"):
        fetched(asset)


def test_a_file_of_the_web_that_changes_while_it_is_fetched_is_begun_again(hub: ModelHub, tmp_path: Path) -> None:
    hub.breaks = {"model.safetensors": [3_000_000, *[0] * 20]}
    with pytest.raises(PullError, match="broke off"):
        fetched(web(hub))
    hub.breaks, hub.files = {}, {"model.safetensors": b"new" * 1_500_000}
    assert fetched(web(hub))[0].read_bytes() == b"new" * 1_500_000


def test_a_part_of_an_unknown_file_without_a_tag_is_not_trusted(hub: ModelHub) -> None:
    hub.tagged, hub.breaks = False, {"model.safetensors": [3_000_000]}
    assert fetched(web(hub))[0].read_bytes() == DATA
    assert hub.transfers() == [None, None]


def test_no_more_is_taken_than_a_file_may_have(hub: ModelHub, tmp_path: Path) -> None:
    with pytest.raises(PullError, match="5,120,000 bytes where 5,000,000 are expected"):
        fetched(web(hub, bytes=5_000_000))
    assert parts(tmp_path) == []


def test_a_disk_without_room_is_said_before_anything_is_fetched(hub: ModelHub, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(pull.shutil, "disk_usage", lambda _: usage(10**9, 10**9, 2**28 + 100))
    with pytest.raises(PullError, match=r"0\.0 GB are to be fetched, but .* has 0\.3 GB free; make room"):
        check_room(survey([MODEL]))
    assert hub.transfers() == []


def test_a_disk_that_fills_up_is_one_line_and_what_arrived_is_kept(hub: ModelHub, tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, before[1]))
    try:
        with pytest.raises(PullError, match="cannot be written to"):
            fetched(MODEL)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    (part,) = parts(tmp_path)
    have = part.stat().st_size
    assert have > 0
    fetched(MODEL)
    assert hub.transfers()[-1] == f"bytes={have}-"


def test_one_file_that_cannot_be_had_does_not_hide_the_others(hub: ModelHub) -> None:
    lost = Asset("pick/lost.txt", source="hf://org/model@main/lost.txt")
    nowhere = Asset("mps/model.safetensors")
    found = survey([lost, MODEL, nowhere])
    assert [need.asset for need in found.needs] == [MODEL]
    assert [(asset, type(error)) for asset, error in found.troubles] == [(lost, PullError), (nowhere, PullError)]
    assert all(isinstance(error, PairsieveError) and "\n" not in str(error) for _, error in found.troubles)
