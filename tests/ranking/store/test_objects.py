"""A store in a bucket, over a network that loses answers, breaks connections and lies: one writer wins, reads are
whole, and what cannot work is said quickly and in one line."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from s3_server import Fault, Proxy, Request, Rule, ask

from ranking.errors import StoreError
from ranking.names import sha256_file, sha256_hex
from ranking.store import copies, objects
from ranking.store.blobs import Store
from ranking.store.bucket import workspace_of

ROOT = Path(__file__).parents[3]
BREAKS: tuple[Fault, ...] = ("reset", "drop", "late", 409, 412, 503, 500)


@pytest.fixture
def store(proxy: Proxy, bucket: str) -> Store:
    """An empty store behind the proxy."""
    return Store.open(bucket)


def finished(store: Store, data: bytes) -> Path:
    path = store.tmp() / sha256_hex(data)[:12]
    path.write_bytes(data)
    return path


def behind(proxy: Proxy, store: Store, key: str) -> str:
    """The URL of a key on the server itself."""
    return f"{proxy.target}/{store.uri.removeprefix('s3://')}/{key}"


@pytest.mark.parametrize(
    "faults",
    [
        ["reset"],
        ["drop"],
        [409],
        [412],
        [503],
        ["drop"] * 5,
        ["reset"] * 5,
        [503] * 6,
        [409, 409, 412, 409],
        # The server sees the first request only after the writer has looked in vain and asked again.
        ["late", "reset", "reset", "reset", "reset"],
        ["late", 409, "drop"],
    ],
    ids=str,
)
@pytest.mark.parametrize("large", [False, True], ids=["bytes", "file"])
def test_the_only_writer_wins_whatever_happens_to_its_answers(
    store: Store, proxy: Proxy, faults: Sequence[Fault], large: bool
) -> None:
    proxy.fail("PUT", "/data/k", *faults)
    data = b"mine" * (500_000 if large else 1)
    won = store.put_file("data/k", finished(store, data)) if large else store.put_if_absent("data/k", data)
    assert won
    for thread in proxy.later:
        thread.join()
    assert not store.put_if_absent("data/k", b"other")
    assert store.get("data/k") == data


@pytest.mark.parametrize("faults", [["drop"], ["reset", "drop"], [503], [409, 409], ["late"]], ids=str)
def test_who_comes_second_loses_whatever_happens_to_its_answers(
    store: Store, proxy: Proxy, faults: Sequence[Fault]
) -> None:
    assert store.put_if_absent("data/k", b"first")
    proxy.fail("PUT", "/data/k", *faults)
    proxy.fail("HEAD", "/data/k", "reset", 503)
    assert not store.put_if_absent("data/k", b"first")
    assert store.get("data/k") == b"first"


@pytest.mark.parametrize("chance", [0.0, 0.3], ids=["steady", "flaky"])
def test_of_sixteen_writers_exactly_one_wins(store: Store, proxy: Proxy, chance: float) -> None:
    proxy.gamble(7, chance, *BREAKS)
    for turn in range(3):
        key = f"commits/x/{turn}.json"
        with ThreadPoolExecutor(16) as pool:
            won = list(pool.map(lambda i, key=key: store.put_if_absent(key, str(i).encode()), range(16)))
        assert won.count(True) == 1
        assert store.get(key) == str(won.index(True)).encode()


def test_a_refusal_is_one_clear_line_at_once(store: Store, proxy: Proxy) -> None:
    proxy.always("PUT", "/data/", 403)
    begun = time.monotonic()
    with pytest.raises(
        StoreError, match=r"data/k cannot be reached \(.* refuses: 403 AccessDenied\); check AWS_ACCESS"
    ):
        store.put_if_absent("data/k", b"")
    assert time.monotonic() - begun < 2
    assert proxy.count("PUT", "/data/k") == 1


def test_trouble_that_does_not_pass_ends_and_is_not_blamed_on_the_work(
    store: Store, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "PATIENCE", 1.0)
    proxy.always("PUT", "/data/", 503)
    with pytest.raises(StoreError, match="503 SlowDown") as caught:
        store.put_if_absent("data/k", b"")
    assert caught.value.code == "store-unusable"  # workers do not count it as a try
    assert not store.exists("data/k")


def test_a_store_out_of_reach_says_so_soon_and_is_usable_when_it_is_back(store: Store, proxy: Proxy) -> None:
    proxy.always("GET", "/pairsieve-tests", "reset")
    begun = time.monotonic()
    assert "does not answer" in (store.usable() or "")
    assert time.monotonic() - begun < 5
    proxy.rules.clear()
    assert store.usable() is None


def test_a_server_that_ignores_the_condition_is_refused(proxy: Proxy, bucket: str) -> None:
    proxy.always("PUT", "/", "unconditional")
    with pytest.raises(StoreError, match="lets a second writer win; choose another"):
        Store.open(bucket)


def test_a_server_that_forgets_whose_an_object_is_is_refused(proxy: Proxy, bucket: str) -> None:
    proxy.always("PUT", "/", "forgetful")
    with pytest.raises(StoreError, match="does not keep the metadata"):
        Store.open(bucket)


def test_a_server_that_lists_late_is_refused(proxy: Proxy, bucket: str, s3_server: str) -> None:
    def elsewhere(request: Request) -> bool:
        if "list-type" in request.query:
            ask("DELETE", f"{s3_server}{written[-1]}")  # gone while the list is made, as if not there yet
        written.extend([request.path] if request.method == "PUT" else [])
        return False

    written: list[str] = []
    proxy.rules.append(Rule(elsewhere, ["reset"]))
    with pytest.raises(StoreError, match="does not list what was just written"):
        Store.open(bucket)


def test_opening_leaves_nothing(store: Store, proxy: Proxy) -> None:
    assert store.list("") == []
    assert proxy.count("DELETE", "/selftest/") == 1


@pytest.mark.parametrize(
    ("uri", "settings", "says"),
    [
        ("s3://no-such-bucket/a", {}, "has no bucket no-such-bucket"),
        ("s3://key:not-to-be-shown@bucket/a", {}, "not s3://bucket/prefix"),
        ("s3://bucket//a", {}, "not s3://bucket/prefix"),
        ("s3://bucket/a/../b", {}, "not s3://bucket/prefix"),
        ("s3://b", {}, "not s3://bucket/prefix"),
        ("s3://bucket", {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "127.0.0.1:9 does not answer"),
        ("s3://bucket", {"AWS_ENDPOINT_URL": "http://minio:9000"}, "reached by http"),
        ("s3://bucket", {"AWS_ENDPOINT_URL": "https://me:not-to-be-shown@minio"}, "not the address of a server"),
        ("s3://bucket", {"AWS_ENDPOINT_URL": "minio:9000"}, "not the address of a server"),
        ("s3://bucket", {"PAIRSIEVE_CACHE": "/tmp/a*b"}, "has one of"),
    ],
)
def test_a_bucket_that_cannot_be_used_is_one_line_without_secrets(
    bucket: str, monkeypatch: pytest.MonkeyPatch, uri: str, settings: dict[str, str], says: str
) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    begun = time.monotonic()
    with pytest.raises(StoreError, match=says) as caught:
        Store.open(uri)
    assert time.monotonic() - begun < 15
    assert "not-to-be-shown" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_http_is_used_where_it_was_allowed(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://nothing.invalid:9000")
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    with pytest.raises(StoreError, match=r"nothing.invalid:9000 does not answer"):
        Store.open(bucket)


def test_a_machine_without_keys_is_told_to_set_them(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(StoreError, match=r"there are no keys for it\); set AWS_ACCESS_KEY_ID"):
        Store.open(bucket)


@pytest.mark.parametrize("fault", ["truncate", "torn", "drop", "reset", 503], ids=str)
def test_what_is_read_is_whole_or_read_again(store: Store, proxy: Proxy, fault: Fault) -> None:
    data = os.urandom(300_000)
    store.put_if_absent("data/k", data)
    for read in (lambda: store.get("data/k"), lambda: store.local("data/k").read_bytes()):
        proxy.fail("GET", "/data/k", fault)
        assert read() == data
    store.delete("data/k")


def test_bytes_that_stay_wrong_are_damage(store: Store, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "_FIRST_PATIENCE", 0.2)
    store.put_if_absent("data/k", b"four")
    proxy.always("GET", "/data/k", "torn")
    for read in (store.get, store.local):
        with pytest.raises(StoreError, match="data/k is damaged") as caught:
            read("data/k")
        assert caught.value.code == "damaged"
    assert list(store.tmp().iterdir()) == []


@pytest.mark.parametrize("fault", [None, "torn", "truncate", "reset", 503], ids=str)
def test_a_listing_is_all_of_its_pages(store: Store, proxy: Proxy, fault: Fault | None) -> None:
    keys = sorted(f"data/{i}/{j}" for i in range(5) for j in range(4))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: store.put_if_absent(key, b"1"), keys))
    proxy.page_size = 3
    for listed, wanted in ((store.list, keys), (store.children, ["0", "1", "2", "3", "4"])):
        if fault is not None:  # on the second page
            proxy.rules = [Rule(lambda request: "continuation-token" in request.query, [fault])]
        assert listed("data") == wanted
    assert proxy.count("GET", "/pairsieve-tests") > 8


def test_a_file_is_fetched_once(store: Store, proxy: Proxy, bucket: str) -> None:
    store.put_if_absent("data/k", b"1")
    for reader in (store, store, Store.open(bucket)):
        assert reader.local("data/k").read_bytes() == b"1"
    assert proxy.count("GET", "/data/k") == 1
    assert list(store.tmp().iterdir()) == []


def test_what_was_just_written_is_not_fetched(store: Store, proxy: Proxy) -> None:
    assert store.put_file("data/k", finished(store, b"12345"))
    assert store.local("data/k").read_bytes() == b"12345"
    assert proxy.count("GET", "/data/k") == 0
    assert not store.put_file("data/k", finished(store, b"other"))
    assert store.local("data/k").read_bytes() == b"12345"


def test_hints_are_fetched_each_time_and_keys_are_not_kept(store: Store) -> None:
    for value in (b"1", b"2"):
        store.put_hint("hints/x", value)
        assert store.local("hints/x").read_bytes() == value
    store.put_file("keys/cursors", finished(store, b"secret"))
    assert [path for path in store.workspace.rglob("*") if path.is_file() and path.read_bytes() == b"secret"] == []


def test_a_damaged_copy_is_fetched_again(store: Store, proxy: Proxy) -> None:
    store.put_if_absent("data/k", b"good")
    store.local("data/k").write_bytes(b"g00d")
    assert store.checked_path("data/k", sha256_hex(b"good")).read_bytes() == b"good"
    ask("PUT", behind(proxy, store, "data/k"), b"bad!")
    assert store.digest("data/k") == sha256_hex(b"bad!")  # of the bucket, not of the copy
    store.local("data/k").write_bytes(b"g00d")
    with pytest.raises(StoreError, match="data/k is damaged: its sha256 is not"):
        store.checked_path("data/k", sha256_hex(b"good"))


def test_the_copies_unused_for_longest_go_first(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAIRSIEVE_CACHE_GB", "0.000004")  # four files of a thousand bytes
    store = Store.open(bucket)
    paths = []
    for i in range(6):
        store.put_if_absent(f"data/{i}/k", bytes([i]) * 1000)
        paths.append(store.local(f"data/{i}/k"))
    assert all(path.exists() for path in paths), "copies in use stay, even if they are too many"
    for age, path in enumerate(paths):
        os.utime(path, (0, time.time() - copies.IN_USE - 1000 + age))
    store.local("data/0/k")  # used again
    store.put_if_absent("data/6/k", b"6" * 1000)
    paths.append(store.local("data/6/k"))
    assert [i for i, path in enumerate(paths) if path.exists()] == [0, 4, 5, 6]
    assert not paths[1].parent.exists()
    assert store.local("data/1/k").read_bytes() == b"\1" * 1000


def test_readers_that_share_a_small_cache_get_whole_files(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAIRSIEVE_CACHE_GB", "0.0001")
    monkeypatch.setattr(copies, "IN_USE", 1.0)
    readers = [Store.open(bucket) for _ in range(4)]  # they share nothing but the folder, as processes do
    files = [(f"data/{i}", sha256_hex(bytes([i]) * 20_000)) for i in range(12)]
    for i, (key, _) in enumerate(files):
        readers[0].put_if_absent(key, bytes([i]) * 20_000)

    def read(reader: Store) -> list[str]:
        return [reader.local(key).name for key, _ in files for _ in range(3)]

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(read, readers)) == [[key[5:] for key, _ in files for _ in range(3)]] * 4
    assert [sha256_file(path) for path in readers[1].checked_paths(files)] == [sha256 for _, sha256 in files]


def test_two_servers_share_no_copies(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    here = workspace_of(bucket)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    assert workspace_of(bucket) != here


def test_what_is_put_again_is_young_again_and_keeps_its_bytes(
    store: Store, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put_if_absent("data/k", b"first")
    before = store.entry("data/k")
    time.sleep(1.1)  # S3 tells whole seconds
    assert not store.put_file("data/k", finished(store, b"second"))
    assert store.entry("data/k") == before, "still young"
    monkeypatch.setattr(objects, "_YOUNG", 0.5)
    assert not store.put_file("data/k", finished(store, b"second"))
    after = store.entry("data/k")
    assert before is not None and after is not None
    assert after.modified >= before.modified + 1
    assert store.get("data/k") == b"first"
    assert ask("HEAD", behind(proxy, store, "data/k"))["x-amz-meta-pairsieve-sha256"] == sha256_hex(b"first")
    assert store.list("") == ["data/k"]


def test_what_is_collected_while_it_is_put_again_is_created(
    store: Store, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    def collect(request: Request) -> bool:
        if "x-amz-copy-source" in request.headers and store.exists("data/k"):
            ask("DELETE", behind(proxy, store, "data/k"))
        return False

    store.put_if_absent("data/k", b"first")
    monkeypatch.setattr(objects, "_YOUNG", -10.0)
    proxy.rules.append(Rule(collect, ["reset"]))
    proxy.lock = _NoLock()  # the rule asks the store, which asks the proxy
    assert store.put_if_absent("data/k", b"first")
    assert store.get("data/k") == b"first"


def test_a_file_too_large_for_one_request_is_refused_at_once(store: Store, proxy: Proxy) -> None:
    path = finished(store, b"")
    os.truncate(path, objects.LARGEST + 1)
    with pytest.raises(StoreError, match=r"data/k has 5.4 GB, and a bucket takes at most 5.4 GB at once"):
        store.put_file("data/k", path)
    assert proxy.count("PUT", "/data/k") == 0
    assert not path.exists()


def test_a_file_is_not_read_into_memory_to_be_sent(bucket: str) -> None:
    script = """
import resource, sys
from ranking.store.blobs import Store
store = Store.open(sys.argv[1])  # with all threads that requests need
path = store.tmp() / "large"
with path.open("wb") as file:
    for i in range(200):
        file.write(bytes([i]) * 1_000_000)
taken = next(line for line in open("/proc/self/status") if line.startswith("VmData"))
resource.setrlimit(resource.RLIMIT_DATA, (int(taken.split()[1]) * 1024 + 100_000_000, -1))
assert store.put_file("data/large", path)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, bucket], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    store = Store.open(bucket)
    assert store.entry("data/large") is not None
    store.delete("data/large")


def test_a_killed_writer_leaves_whole_blobs_or_none(bucket: str) -> None:
    script = """
import hashlib, sys
from ranking.store.blobs import Store
store = Store.open(sys.argv[1])
print("ready", flush=True)
for i in range(1000):
    data = hashlib.sha256(f"{sys.argv[2]} {i}".encode()).digest() * 60_000
    path = store.tmp() / f"{sys.argv[2]}-{i}"
    path.write_bytes(data)
    store.put_file(f"data/{hashlib.sha256(data).hexdigest()}", path)
"""
    for turn, seconds in enumerate((0.01, 0.05, 0.12, 0.3)):
        child = subprocess.Popen(
            [sys.executable, "-c", script, bucket, str(turn)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        time.sleep(seconds)
        child.kill()
        child.wait()
        child.stdout.close()
    store = Store.open(bucket)
    written = store.list("data")
    assert len(written) > 5
    assert [store.digest(key) for key in written] == [key.removeprefix("data/") for key in written]
    assert [sha256_hex(store.local(key).read_bytes()) for key in written] == [key[5:] for key in written]


class _NoLock:
    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...
