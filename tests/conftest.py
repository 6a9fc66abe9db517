"""What several floors' tests share: a store, a dataset made of little JPEGs, and a real Redis server."""

import os
import shutil
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from pickapic_factory import rows, write
from s3_server import Proxy, faulty_proxy, make_bucket, moto_server

from ranking.datasets import Dataset, get_dataset
from ranking.ingest import ingest
from ranking.store.blobs import Store

# Before torch is imported, here and in children: models of tests are tiny, and threads that wait for one another, in as
# many processes as there are processors, cost far more than they share. And sums are then of one order everywhere.
os.environ["OMP_NUM_THREADS"] = "1"

# A shared machine may stall for longer than hypothesis' default deadline; CI tries the same examples every time.
settings.register_profile("pairsieve", deadline=None, derandomize=os.environ.get("CI") == "true")
settings.load_profile("pairsieve")


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No PAIRSIEVE_, AWS_ or HF_ variable of the developer's shell reaches a test, nor any weights of this machine."""
    for name in [name for name in os.environ if name.startswith(("PAIRSIEVE_", "AWS_", "HF_"))]:
        monkeypatch.delenv(name)
    nothing = tmp_path_factory.getbasetemp() / "no-weights"
    monkeypatch.setenv("PAIRSIEVE_WEIGHTS", str(nothing))
    monkeypatch.setenv("HF_HUB_CACHE", str(nothing / "hub"))
    # One for all tests: what one has encoded, another need not.
    monkeypatch.setenv("PAIRSIEVE_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(autouse=True, scope="session")
def _no_wait_for_the_disk() -> Iterator[None]:
    """No test takes the power away, so what only matters then need not be waited for."""
    real, os.fsync = os.fsync, lambda _: None
    yield
    os.fsync = real


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """An empty store that the settings name, too."""
    monkeypatch.setenv("PAIRSIEVE_STORE", str(tmp_path / "store"))
    return Store.open(tmp_path / "store")


@pytest.fixture(scope="session")
def ingested_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sources of "pets" and a store that has them, for `dataset` to copy, as an ingest is slow."""
    folder = tmp_path_factory.mktemp("pets")
    for part in range(2):
        write(folder / "source" / f"part-{part}.parquet", rows(6, first=6 * part), row_group_size=4)
    ingest(Store.open(folder / "store"), folder / "source", "pets", slice_items=5)
    return folder


@pytest.fixture
def dataset(store: Store, tmp_path: Path, ingested_once: Path) -> Dataset:
    """Twelve judgements in two files below tmp_path, cut into slices of at most five items."""
    shutil.copytree(ingested_once / "source", tmp_path / "source")
    made = Store.open(ingested_once / "store")
    for key in made.list("datasets"):
        # A revision's sha does not cover where its sources were, so that they may be said to be elsewhere.
        store.put_if_absent(key, made.get(key).replace(str(ingested_once).encode(), str(tmp_path).encode()))
    return get_dataset(store, "pets")


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The URL of an S3 server of our own, with one bucket."""
    with moto_server() as url:
        make_bucket(url, "pairsieve-tests")
        yield url


@pytest.fixture
def bucket(s3_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URI of an empty place in that bucket, with all that is needed to reach it in the environment."""
    for name, value in {
        "AWS_ENDPOINT_URL": s3_server,
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "pairsieve",
        "AWS_SECRET_ACCESS_KEY": "not-to-be-shown",
        "PAIRSIEVE_CACHE": str(tmp_path / "cache"),
    }.items():
        monkeypatch.setenv(name, value)
    return f"s3://pairsieve-tests/{uuid.uuid4().hex}/store"


@pytest.fixture
def proxy(s3_server: str, bucket: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """A proxy before the S3 server, which the environment names instead; it breaks what it is told to."""
    with faulty_proxy(s3_server) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        yield proxy


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a Redis server of our own on a free loopback port; on CI it must be installed."""
    executable = shutil.which("redis-server")
    if executable is None:
        message = "no redis-server on the PATH; install it, for example with: apt-get install redis-server"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    port = free_port()
    folder = tmp_path_factory.mktemp("redis")
    options = [
        "--port",
        str(port),
        "--bind",
        "127.0.0.1",
        "--save",
        "",
        "--appendonly",
        "no",
        "--dir",
        str(folder),
    ]
    server = subprocess.Popen([executable, *options], stdout=subprocess.DEVNULL)
    try:
        wait_for_port(port, timeout=20)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        server.terminate()
        server.wait(10)


def free_port() -> int:
    """A loopback port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_port(port: int, *, timeout: float) -> None:
    """Return when something accepts connections on a loopback port."""
    end = time.monotonic() + timeout
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)
