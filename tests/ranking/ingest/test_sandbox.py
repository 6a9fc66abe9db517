"""Reading untrusted files in children: limits hold, deaths are one line, nothing outlives its parent."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pickapic_factory import Row, rows, with_raw, write

from ranking.datasets import get_dataset, list_datasets
from ranking.errors import SourceError
from ranking.ingest import children as children_module
from ranking.ingest import ingest, sandbox
from ranking.ingest.adapters import ADAPTERS, Options, parquet
from ranking.ingest.children import Children
from ranking.ingest.sources import SourceFile, find_sources
from ranking.store.blobs import Store


def job(path: Path, do: str = "hash", **more: Any) -> dict[str, Any]:
    (file,) = find_sources(path, [])
    return {"do": do, "uri": file.uri, "file": vars(file), **more}


@pytest.fixture
def children(tmp_path: Path) -> Iterator[Children]:
    with Children(tmp_path, memory_gb=1, remote=False) as found:
        yield found


def own_children() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if "ranking.ingest.sandbox" in " ".join(child.cmdline())]


def test_results_come_in_the_order_of_the_jobs(children: Children, tmp_path: Path) -> None:
    sizes = [3_000_000, 0, 5, 70_000]
    for i, size in enumerate(sizes):
        (tmp_path / f"{i}.bin").write_bytes(bytes([i]) * size)
    results = children.run([job(tmp_path / f"{i}.bin") for i in range(4)])
    sums = [subprocess.check_output(["sha256sum", tmp_path / f"{i}.bin"], text=True).split()[0] for i in range(4)]
    assert [result["sha256"] for result in results] == sums
    assert 1 <= len(own_children()) <= 2


def test_leaving_the_block_ends_the_children(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    with Children(tmp_path, memory_gb=1, remote=False) as found:
        found.run([job(tmp_path / "a")])
        assert own_children()
    assert not own_children()


def test_the_first_file_that_fails_is_named_whichever_ends_first(children: Children, tmp_path: Path) -> None:
    (tmp_path / "good").write_bytes(bytes(30_000_000))
    for name in ("late", "early"):
        (tmp_path / name).write_bytes(b"x")
    jobs = [job(tmp_path / name) for name in ("good", "late", "early")]
    for name in ("late", "early"):
        (tmp_path / name).unlink()
    with pytest.raises(SourceError, match=r"late does not exist"):
        children.run(jobs)


def stubborn(folder: Path, body: str, monkeypatch: pytest.MonkeyPatch) -> Children:
    """Children whose process does what `body` says in place of its jobs."""
    package = folder / "package"
    (package / "ranking" / "ingest").mkdir(parents=True)
    for name in ("ranking", "ranking/ingest"):
        (package / name / "__init__.py").write_text("")
    (package / "ranking" / "ingest" / "sandbox.py").write_text(body)
    monkeypatch.setattr(children_module, "_PACKAGES", package)
    return Children(folder, memory_gb=1, remote=False)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            "import os, signal; input(); os.kill(os.getpid(), signal.SIGSEGV)",
            r"breaks the process .*\(SIGSEGV\): refused",
        ),
        ("import os, signal; input(); os.kill(os.getpid(), signal.SIGKILL)", "the reader was killed: refused"),
        ("import sys; input(); sys.exit(3)", r"\(status 3\): refused"),
        ("import sys; sys.exit(0)", r"\(status 0\): refused"),
        ("input(); print('no json', flush=True); input()", "breaks the process"),
        ("input(); print('[' * 3_000_000, flush=True); input()", "breaks the process"),
        (
            "import os, sys; input(); sys.stderr.write('std::bad_alloc'); sys.stderr.flush(); os.abort()",
            "needs more than 1 GB to read: refused; raise PAIRSIEVE_INGEST_MEMORY_GB if you trust it",
        ),
        ("input(); input()", "gives nothing for"),
    ],
)
def test_a_child_that_dies_or_babbles_is_one_line_that_names_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, message: str
) -> None:
    (tmp_path / "a").write_bytes(b"x")
    monkeypatch.setattr(children_module, "_STALL_SECONDS", 2.0)
    with stubborn(tmp_path, body, monkeypatch) as found, pytest.raises(SourceError, match=message) as caught:
        found.run([job(tmp_path / "a")])
    assert f"source {tmp_path}/a " in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not own_children()


def test_a_child_has_no_secrets_and_little_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PAIRSIEVE_BROKER", "AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "UNRELATED"):
        monkeypatch.setenv(name, "word")
    (tmp_path / "a").write_bytes(b"x")
    seen = []
    for remote in (False, True):
        with Children(tmp_path, memory_gb=1, remote=remote) as found:
            found.run([job(tmp_path / "a")])
            (child,) = own_children()
            seen.append({name for name, value in child.environ().items() if value == "word"})
            assert child.rlimit(psutil.RLIMIT_DATA) == (2**30, 2**30)
            assert child.rlimit(psutil.RLIMIT_CORE) == (0, 0)
    assert seen == [{"UNRELATED"}, {"UNRELATED", "AWS_SECRET_ACCESS_KEY", "HF_TOKEN"}]


def test_children_end_with_their_parent(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    code = (
        "import json, sys\nfrom pathlib import Path\nfrom ranking.ingest.children import Children\n"
        "found = Children(Path(sys.argv[1]), memory_gb=1, remote=False).__enter__()\n"
        "found.run([json.loads(sys.argv[2])])\n"
        "print(found._children[0]._process.pid, flush=True)\ninput()\n"
    )
    words = [sys.executable, "-c", code, str(tmp_path), json.dumps(job(tmp_path / "a"))]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        assert child.is_running()
        parent.send_signal(signal.SIGKILL)
    child.wait(10)
    assert not child.is_running()


def test_a_file_that_needs_too_much_memory_is_refused_and_leaves_nothing(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One prompt of 400 MB: a page that zstd makes small.
    monkeypatch.setenv("PAIRSIEVE_INGEST_MEMORY_GB", "0.5")
    long = pa.chunked_array([pa.array(["x" * 400_000_000], pa.large_string())])
    full = {"caption": long, "image_0_uid": ["a"], "image_1_uid": ["b"], "label_0": [1.0], "label_1": [0.0]}
    plain = {"compression": "zstd", "use_dictionary": False, "write_statistics": False}
    pq.write_table(pa.table(full), tmp_path / "a.parquet", **plain)
    with pytest.raises(SourceError, match=r"needs more than 0\.5 GB to read: refused; raise PAIRSIEVE_INGEST_MEMORY"):
        ingest(store, tmp_path / "a.parquet", "pets")
    assert list_datasets(store) == []
    assert list(store.tmp().iterdir()) == []


def test_many_files_become_what_they_become_one_after_another(store: Store, tmp_path: Path) -> None:
    for part in range(5):
        write(tmp_path / "src" / f"{part}.parquet", rows(40 * (5 - part), first=100 * part), row_group_size=7)
    ingest(store, tmp_path / "src", "once")
    for part in range(5):
        ingest(store, tmp_path / "src" / f"{part}.parquet", "steps")
    once, steps = get_dataset(store, "once"), get_dataset(store, "steps")
    assert [source.uri for source in once.sources] == [source.uri for source in steps.sources]
    read = [
        pa.concat_tables([pq.read_table(path, partitioning=None) for path in dataset.pairs_paths(store)])
        for dataset in (once, steps)
    ]
    assert read[0].equals(read[1])


def test_rows_of_many_batches_keep_their_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "BATCH_ROWS", 4)
    judged = rows(11)
    judged[6] = Row("x" * 9000, "a", "b")
    (file,) = find_sources(write(tmp_path / "a.parquet", judged, row_group_size=3), [])
    told: list[int] = []
    result = sandbox.stage_file(
        adapter="pickapic",
        file=vars(file),
        options={"images": None, "columns": {}},
        ordinal=5,
        folder=str(tmp_path),
        report=told.append,
    )
    assert result == {"judgements": 11, "ratings": 0, "bad": {"long_prompt": 1}, "first": [6, "long_prompt"]}
    staged = pq.read_table(tmp_path / "5.parquet").to_pylist()
    assert [(row["row"], row["position"], row["row_group_0"], row["ordinal"]) for row in staged] == [
        (i, i, i // 3, 5) for i in range(11)
    ]
    # What is wrong with a row is not carried along.
    assert (staged[6]["prompt"], staged[6]["reason"]) == (None, "long_prompt")
    assert told == sorted(told)
    assert max(told) <= file.bytes


class Handle(io.BufferedReader):
    """A file that counts the bytes it gives."""

    given = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        Handle.given += len(data)
        return data


class CountedFile(SourceFile):
    def open(self) -> BinaryIO:
        return Handle(Path(self.uri).open("rb", buffering=0), sandbox.READ_AHEAD)


def test_images_are_not_read(tmp_path: Path) -> None:
    judged = [with_raw(row, jpg_0=os.urandom(300_000), jpg_1=os.urandom(300_000)) for row in rows(8)]
    path = write(tmp_path / "a.parquet", judged, row_group_size=2)
    file = CountedFile(str(path), str(tmp_path), path.stat().st_size)
    adapter = next(adapter for adapter in ADAPTERS if adapter.name == "pickapic")
    assert sum(batch.num_rows for batch in adapter.read(file, Options())) == 8
    assert 0 < Handle.given < file.bytes / 10


def test_the_child_starts_without_what_it_does_not_need() -> None:
    code = (
        "import sys, ranking.ingest.sandbox, ranking.ingest.adapters, ranking.ingest.sheets\n"
        "heavy = {'duckdb', 'pydantic', 'huggingface_hub', 'obstore', 'httpx2', 'PIL', 'pandas', 'torch'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_an_interrupted_ingest_leaves_no_child(store: Store, tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", rows(3))

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ingest(store, tmp_path / "a.parquet", "pets", progress=interrupt)
    for _ in range(50):
        if not own_children():
            break
        time.sleep(0.1)
    assert not own_children()
    assert list(store.tmp().iterdir()) == []
