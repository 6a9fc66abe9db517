"""The dashboard in a real browser: pictures load, nothing scrolls sideways, complains or asks another machine."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import uvicorn
from made_steps import steps
from PIL import Image
from service_factory import Site, build, serving

from ranking.runs import plan_run, record_run_attempt
from service.commands.serve import listen
from training.watch.live import tell

pytestmark = pytest.mark.browser

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    # Whatever a page asks of another machine fails, and the log says so.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--virtual-time-budget=15000",
)


@dataclass(frozen=True)
class Shown:
    """What a browser made of a page: its document, what it logged on the console, and what the page asked others."""

    dom: str
    console: list[str]
    elsewhere: list[str]

    def fact(self, name: str) -> int:
        """A number that app.js wrote on the document."""
        found = re.search(rf'<html[^>]* data-{name}="(\d+)"', self.dom)
        assert found is not None, f"app.js did not say {name}"
        return int(found[1])


class Browser:
    """A headless Chromium; every call is a fresh one with its own profile."""

    def __init__(self, executable: str, address: str, folder: Path) -> None:
        self._executable = executable
        self._address = address
        self._folder = folder

    def open(self, path: str, *, width: int) -> Shown:
        """The page after its scripts and pictures had their time, in a window tall enough to load all of them."""
        net = self._folder / "net.json"
        done = self._run(
            path,
            *("--dump-dom", f"--window-size={width},12000", "--enable-logging=stderr", f"--log-net-log={net}"),
        )
        console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
        return Shown(done.stdout, console, self._elsewhere(net))

    def screenshot(self, path: str, *, width: int, dark: bool = False) -> Image.Image:
        """A picture of the first 900 px."""
        target = self._folder / "page.png"
        flags = ["--blink-settings=preferredColorScheme=0"] if dark else []
        self._run(path, f"--screenshot={target}", f"--window-size={width},900", *flags)
        return Image.open(target).convert("RGB")

    def _run(self, path: str, *flags: str) -> subprocess.CompletedProcess[str]:
        profile = self._folder / f"profile-{time.monotonic_ns()}"
        command = [self._executable, *FLAGS, f"--user-data-dir={profile}", *flags, f"{self._address}{path}"]
        try:
            return subprocess.run(command, capture_output=True, text=True, timeout=200, check=True)
        finally:
            shutil.rmtree(profile, ignore_errors=True)

    def _elsewhere(self, net: Path) -> list[str]:
        """The addresses of other machines that pages asked for. The browser's own errands name no origin as theirs."""
        parameters = [event.get("params", {}) for event in json.loads(net.read_text())["events"]]
        asked = [each["url"] for each in parameters if each.get("initiator", "not an origin") != "not an origin"]
        return sorted({url for url in asked if urlsplit(url).hostname not in ("127.0.0.1", None)})


@pytest.fixture(scope="session")
def browser(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser pointed at the site on a free loopback port."""
    executable = next((found for name in NAMES if (found := shutil.which(name))), None)
    if executable is None:
        message = "no Chromium on the PATH; install it, for example with: apt-get install chromium"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    with listening(site.client.app) as address:
        yield Browser(executable, address, tmp_path_factory.mktemp("browser"))


@contextmanager
def listening(app: Any) -> Iterator[str]:
    """The address of an application, whose lifespan runs already for its own client, on a free loopback port."""
    bound = listen("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)
        bound.close()


def paths(site: Site) -> dict[str, tuple[str, int, int]]:
    """Pages, how many pictures each shows, and how many of them have no bytes."""
    pair = site.client.get("/v1/pairs?dataset=toy&limit=1").json()["items"][0]
    return {
        "overview": ("/", 11, 1),
        "pairs": ("/pairs?dataset=toy&sort=-alpha.gap", 40, 0),
        "hostile": ("/pairs?dataset=hostile", 12, 2),
        "pair": (f"/pairs/{pair['pair_id']}", 2, 0),
        "subset": (f"/subsets/{site.subset.ref}", 20, 0),
        "run": (f"/runs/{site.run.run_id}", 6 + 3 * 6 + 6, 0),  # evaluation, samples of three steps, and the slider's
        "compared": (f"/runs/{site.run.run_id}/compare?with={site.run.run_id}", 0, 0),
        "study": ("/studies/rivals", 0, 0),
        "docs": ("/docs", 0, 0),
    }


@pytest.mark.parametrize(
    ("name", "width"),
    [(name, 360) for name in ("overview", "pairs", "hostile", "pair", "subset", "run", "compared", "study", "docs")]
    + [("pairs", 1280)],
)
def test_a_page_shows_its_pictures_fits_and_complains_of_nothing(
    site: Site, browser: Browser, name: str, width: int
) -> None:
    path, pictures, broken = paths(site)[name]
    shown = browser.open(path, width=width)
    assert (shown.fact("pictures"), shown.fact("broken")) == (pictures, broken)
    assert shown.fact("overflow") == 0, "it scrolls sideways"
    assert shown.elsewhere == []
    assert shown.dom.count("<script") == 1, "a prompt became a script"
    # A browser remarks on each picture that it could not have, and on nothing else.
    assert [line for line in shown.console if "Failed to load resource" not in line] == []
    assert len(shown.console) <= broken


def test_a_run_that_goes_on_renews_its_page_in_place(browser: Browser, tmp_path: Path) -> None:
    store, _, _, subset, _ = build(tmp_path)
    run = plan_run(store, subset.ref, {"model": "toyworld", "steps": 90}).run_id
    record_run_attempt(store, run, worker="me")
    tell(store, run, attempt="me", steps=90, records=steps(30))
    asked: list[str] = []

    with serving(store) as client:

        async def app(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http" and scope["path"] == f"/runs/{run}":
                asked.append(dict(scope["headers"])[b"sec-fetch-mode"].decode())
                tell(store, run, attempt="me", steps=90, records=steps(30 + len(asked)))
            await client.app(scope, receive, send)

        with listening(app) as address:
            shown = Browser(browser._executable, address, tmp_path).open(f"/runs/{run}", width=1280)
    # The page was fetched once as a page, and then every five of the fifteen seconds that the browser had.
    assert asked[0] == "navigate"
    assert set(asked[1:]) == {"cors"}
    assert f"step {30 + len(asked)} of 90" in shown.dom
    assert shown.console == []


def test_a_page_that_breaks_the_rules_would_be_caught(browser: Browser, tmp_path: Path) -> None:
    bad = tmp_path / "bad.html"
    bad.write_text("<script>console.error('oops')</script><img src='http://elsewhere.invalid/x.png'>")
    shown = Browser(browser._executable, bad.as_uri(), tmp_path).open("", width=1280)
    assert any("oops" in line for line in shown.console)
    assert shown.elsewhere == ["http://elsewhere.invalid/x.png"]


def test_light_and_dark_are_drawn_as_the_system_prefers(browser: Browser) -> None:
    light = np.asarray(browser.screenshot("/", width=1280))
    dark = np.asarray(browser.screenshot("/", width=1280, dark=True))
    assert light[300, 3].min() > 220
    assert dark[300, 3].max() < 60
