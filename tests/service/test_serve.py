"""Starting the server: which addresses, a port in use, what an import costs."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
import typer
from service_factory import Site
from typer.testing import CliRunner

from ranking.errors import PairsieveError, UsageError
from ranking.settings import Settings
from service.app import create_app
from service.commands.serve import listen, register
from service.security import check_bind, host_name


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "localhost", "LOCALHOST", "::1", "[::1]"])
def test_loopback_may_be_listened_on(host: str) -> None:
    check_bind(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "example.org", "", "0", "localhost.evil.org"])
def test_an_address_that_others_reach_is_refused_in_one_line(host: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        check_bind(host)
    assert "\n" not in str(caught.value)
    assert "127.0.0.1" in str(caught.value)
    if host:
        with pytest.raises(UsageError):
            create_app(Settings(store=str(tmp_path), host=host))


def test_a_port_in_use_is_one_clear_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(PairsieveError, match=f"port {port} .*--port"):
            listen("127.0.0.1", port)


def test_importing_the_app_loads_no_model_library() -> None:
    code = (
        "import sys, service.app; "
        "print([name for name in ('torch', 'transformers', 'diffusers', 'open_clip', 'celery') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_serve_prints_its_address_and_answers_there(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "service.cli", "serve", "--port", "0", "--store", str(tmp_path / "store")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            line = server.stdout.readline()
            address = next(word for word in line.split() if word.startswith("http://127.0.0.1:"))
            for _ in range(100):
                try:
                    with urllib.request.urlopen(f"{address}livez", timeout=10) as answer:
                        assert answer.status == 200
                    break
                except OSError:
                    time.sleep(0.1)
            else:
                pytest.fail("the server does not answer")
        finally:
            server.terminate()
            server.wait(20)


def test_serve_refuses_other_hosts_before_it_touches_the_store(tmp_path: Path) -> None:
    app = typer.Typer()
    register(app)
    app.command("other")(lambda: None)
    done = CliRunner().invoke(app, ["serve", "--host", "0.0.0.0", "--store", str(tmp_path / "store")])
    assert isinstance(done.exception, UsageError)
    assert done.exception.exit_code == 2
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil.example:80",
        "[::2]",
        "",
        "10.0.0.1:8765",
        "127.0.0.1@evil",
    ],
)
def test_another_host_name_is_refused(site: Site, host: str) -> None:
    for path in ("/", "/v1/pairs?dataset=toy", "/v1/images/img-3?dataset=toy", "/livez", "/static/app.js"):
        answer = site.client.get(path, headers={"host": host})
        assert (answer.status_code, answer.json()["code"]) == (421, "host-not-allowed")


@pytest.mark.parametrize("host", ["localhost", "LocalHost:8765", "127.0.0.1:1", "[::1]:8765", "[::1]"])
def test_our_own_names_are_served_on_any_port(site: Site, host: str) -> None:
    assert site.client.get("/livez", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    ("header", "name"), [("LOCALHOST:80", "localhost"), ("[::1]:80", "::1"), ("a:b:c", "a"), ("[::1", "::1")]
)
def test_the_port_is_no_part_of_the_name(header: str, name: str) -> None:
    assert host_name(header) == name
