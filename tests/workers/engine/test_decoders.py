"""Decoder processes: what they give back, and what it costs when one dies."""

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np
import psutil
import pytest
from hostile_views import LOADED, hostile
from PIL import Image

from ranking.images import ImageError
from ranking.settings import Settings
from workers.engine.decoders import DecoderError, Decoders, shared_decoders
from workers.engine.decoding import Examined, Wanted, examine
from workers.scorers.views import crop

BLUE, RED = (10, 20, 230), (250, 20, 30)


def jpeg(colour: tuple[int, int, int] = BLUE, size: tuple[int, int] = (9, 7)) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, colour).save(out, "JPEG", quality=95)
    return out.getvalue()


@pytest.fixture(scope="module")
def decoders() -> Iterator[Decoders]:
    with Decoders(2, seconds=1.0, memory_gb=1.0) as found:
        yield found


def until(true: Callable[[], bool], seconds: float = 20) -> bool:
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.02)
    return true()


def test_a_process_gives_what_the_same_function_gives_here(decoders: Decoders) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (70, 90, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(noise).save(out, "PNG")
    wanted = Wanted((crop(32), hostile("kill")), facts=True, thumbnails=True)
    ((key, there),) = decoders.examine_all([("a", out.getvalue())], wanted)
    here = examine(out.getvalue(), wanted)
    assert key == "a" and (there.facts, there.thumbnail) == (here.facts, here.thumbnail)
    for view in wanted.views:
        assert there.seen[view].dtype == here.seen[view].dtype and np.array_equal(there.seen[view], here.seen[view])


def test_what_has_no_bytes_or_does_not_decode_is_a_status(decoders: Decoders) -> None:
    pictures = {"none": None, "torn": jpeg()[:90], "good": jpeg(), "gone": ImageError("no", status="too_large")}
    found = dict(decoders.examine_all(pictures.items(), Wanted((crop(8),), facts=True)))
    assert {key: each.seen for key, each in found.items() if key != "good"} == {
        "none": "missing",
        "torn": "corrupt",
        "gone": "too_large",
    }
    assert found["torn"].facts.bytes == 90 and found["good"].facts.width == 9


@pytest.mark.parametrize("how", ["kill", "exit", "sleep", "spin", "kill for memory"])
def test_a_picture_that_ends_or_holds_its_process_costs_itself_alone(decoders: Decoders, how: str) -> None:
    view = hostile(how)
    wanted = Wanted((view,), facts=True, thumbnails=True)
    pictures = [(place, jpeg(RED if place == 13 else BLUE)) for place in range(30)]
    found = dict(decoders.examine_all(pictures, wanted))
    assert sorted(found) == list(range(30))
    if how == "kill for memory":  # Python notices in time and says MemoryError, which costs the view
        assert found[13].seen == {view: "crash"} and "MemoryError" in found[13].error
    else:
        assert found[13].seen == "crash" and found[13].facts.status == "crash"
        assert {"kill": "SIGKILL", "exit": "status 3"}.get(how, "time-out") in found[13].error
    for place in set(range(30)) - {13}:
        assert isinstance(found[place].seen, dict) and found[place].facts.status == "ok" and found[place].thumbnail


def test_two_of_them_in_one_hand_are_both_found(decoders: Decoders) -> None:
    pictures = [(place, jpeg(RED if place in (2, 3, 7) else BLUE)) for place in range(8)]
    found = dict(decoders.examine_all(pictures, Wanted((hostile("exit"),))))
    assert [place for place in range(8) if found[place].seen == "crash"] == [2, 3, 7]


def test_a_view_that_raises_costs_those_who_look_through_it_and_says_why(decoders: Decoders) -> None:
    bad, good = hostile("raise"), crop(8)
    ((_, found),) = decoders.examine_all([("a", jpeg(RED))], Wanted((bad, good)))
    assert found.seen[bad] == "crash" and found.seen[good].shape == (8, 8, 3)
    assert found.error == "hostile_views:kill_on_red: ValueError: no reds"


def test_a_view_gives_numbers_only(decoders: Decoders) -> None:
    view = hostile("text")
    ((_, found),) = decoders.examine_all([("a", jpeg(RED))], Wanted((view,)))
    assert found.seen == {view: "crash"} and found.error.endswith("TypeError: a view gives numbers, not object")


def test_memory_is_bounded_by_process(decoders: Decoders) -> None:
    view = hostile("memory")
    ((_, found),) = decoders.examine_all([("a", jpeg(RED))], Wanted((view,)))
    assert found.seen == {view: "crash"} and "MemoryError" in found.error


def test_they_are_kept_are_no_more_than_asked_for_and_load_no_model(decoders: Decoders) -> None:
    found = list(decoders.examine_all([(place, jpeg()) for place in range(64)], Wanted((LOADED,))))
    assert not any(examined.seen[LOADED].any() for _, examined in found)
    before = set(decoders.pids)
    list(decoders.examine_all([(place, jpeg()) for place in range(64)], Wanted((LOADED,))))
    assert set(decoders.pids) == before and 1 <= len(before) <= 2


def test_pictures_are_taken_no_faster_than_they_are_decoded(decoders: Decoders) -> None:
    taken = 0

    def endless() -> Iterator[tuple[int, bytes]]:
        nonlocal taken
        while True:
            taken += 1
            yield taken, jpeg()

    results: Iterator[tuple[int, Examined]] = decoders.examine_all(endless(), Wanted())
    next(results)
    assert taken <= (2 * 2 + 1) * 8
    results.close()


def test_no_secret_of_the_environment_reaches_them(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "PAIRSIEVE_BROKER"):
        monkeypatch.setenv(name, "secret")
    monkeypatch.setenv("HARMLESS", "kept")
    with Decoders(1) as own:
        list(own.examine_all([(0, jpeg())], Wanted()))
        environment = psutil.Process(own.pids[0]).environ()
    assert "secret" not in environment.values() and environment["HARMLESS"] == "kept"


def test_a_process_that_dies_while_idle_costs_nothing() -> None:
    with Decoders(1) as own:
        list(own.examine_all([(0, jpeg())], Wanted()))
        (pid,) = own.pids
        os.kill(pid, signal.SIGKILL)
        ((_, found),) = own.examine_all([(0, jpeg())], Wanted())
        assert found.seen == {} and own.pids != [pid]


def test_closing_leaves_no_process() -> None:
    own = Decoders(2)
    list(own.examine_all([(place, jpeg()) for place in range(32)], Wanted()))
    pids = own.pids
    assert pids and all(psutil.pid_exists(pid) for pid in pids)
    own.close()
    assert not any(psutil.pid_exists(pid) for pid in pids)
    with pytest.raises(DecoderError, match="closed"):
        list(own.examine_all([(0, jpeg())], Wanted()))


@pytest.mark.parametrize("view", ["None", "hostile('spin')"], ids=["idle", "busy"])
def test_they_end_with_a_parent_that_is_killed(view: str) -> None:
    code = (
        "import sys, threading, time\n"
        "from hostile_views import hostile\n"
        "from workers.engine.decoders import Decoders\n"
        "from workers.engine.decoding import Wanted\n"
        "picture = sys.stdin.buffer.read()\n"
        f"view = {view}\n"
        "own = Decoders(1, seconds=5)\n"
        "list(own.examine_all([(0, b'no picture')], Wanted()))\n"
        "print(*own.pids, flush=True)\n"
        "list(own.examine_all([(0, picture)], Wanted((view,) if view else ())))\n"
        "time.sleep(60)\n"
    )
    path = os.pathsep.join(place for place in sys.path if place)
    parent = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": path},
    )
    with parent:
        parent.stdin.write(jpeg(RED))
        parent.stdin.close()
        pid = int(parent.stdout.readline())
        time.sleep(0.3)
        assert psutil.pid_exists(pid)
        parent.send_signal(signal.SIGKILL)
    assert until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)


def test_a_decoder_that_does_not_start_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with Decoders(1) as own, pytest.raises(DecoderError, match=r"does not start \(status 1\)"):
        list(own.examine_all([(0, jpeg())], Wanted()))


def test_the_decoders_of_a_process_are_shared_as_long_as_the_settings_are_the_same() -> None:
    one = shared_decoders(Settings(decoders=1))
    assert shared_decoders(Settings(decoders=1)) is one and one.count == 1
    assert shared_decoders(Settings(decoders=1, decode_seconds=5)) is not one
    assert shared_decoders(Settings()).count == len(os.sched_getaffinity(0))
