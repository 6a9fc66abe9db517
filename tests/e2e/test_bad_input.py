"""Everything a user can get wrong ends in one clear line, status 1 or 2, and leaves the store as it was."""

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from command_line import Shell, pairsieve
from pickapic_factory import rows, write

from ranking.store.blobs import Store


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def assert_refused(done: Shell, *, status: int, saying: str) -> None:
    assert done.status == status, (done.out, done.err)
    lines = done.err.strip().splitlines()
    assert len(lines) == 1, done.err
    assert lines[0].startswith("error: ")
    assert saying in lines[0]
    assert "Traceback" not in done.err


def missing(folder: Path) -> Path:
    return folder / "absent"


def not_parquet(folder: Path) -> Path:
    (folder / "notes.parquet").write_text("no parquet at all")
    return folder / "notes.parquet"


def truncated(folder: Path) -> Path:
    write(folder / "cut.parquet", rows(6), row_group_size=4)
    (folder / "cut.parquet").write_bytes((folder / "cut.parquet").read_bytes()[:-20])
    return folder / "cut.parquet"


def without_columns(folder: Path) -> Path:
    pq.write_table(pa.table({"caption": ["a cat"], "label_0": [1.0]}), folder / "thin.parquet")
    return folder / "thin.parquet"


def empty_folder(folder: Path) -> Path:
    (folder / "nothing").mkdir()
    return folder / "nothing"


def no_rows(folder: Path) -> Path:
    write(folder / "empty.parquet", [], row_group_size=4)
    return folder / "empty.parquet"


def empty_prompt(folder: Path) -> Path:
    first, *others = rows(6)
    write(folder / "blank.parquet", [*others, replace(first, prompt="  ")], row_group_size=4)
    return folder / "blank.parquet"


def bad_labels(folder: Path) -> Path:
    first, *others = rows(6)
    write(folder / "labels.parquet", [replace(first, raw=(("label_0", 0.7),)), *others], row_group_size=4)
    return folder / "labels.parquet"


def a_page(folder: Path) -> Path:
    (folder / "page.parquet").write_text("<!doctype html><title>Not found</title>")
    return folder / "page.parquet"


def foreign_names(folder: Path) -> Path:
    (folder / "pairs.csv").write_text("caption,left,right,choice\na cat,a.png,b.png,left\n")
    return folder / "pairs.csv"


@pytest.mark.parametrize(
    ("make", "saying"),
    [
        (missing, "absent"),
        (a_page, "cannot be read as Parquet"),
        (foreign_names, "its columns are caption, left, right, choice"),
        (lambda _: Path("/dev/null"), "neither a file nor a folder"),
        (not_parquet, "notes.parquet"),
        (truncated, "cut.parquet"),
        (without_columns, "image_0_uid"),
        (empty_folder, "nothing"),
        (no_rows, "empty.parquet"),
        (empty_prompt, "prompt"),
        (bad_labels, "label"),
    ],
)
def test_a_source_that_cannot_be_ingested(
    store: Store, tmp_path: Path, make: Callable[[Path], Path], saying: str
) -> None:
    source = make(tmp_path)
    before = tree(store.workspace)
    assert_refused(pairsieve("ingest", source, "--dataset", "pets"), status=1, saying=saying)
    assert tree(store.workspace) == before


@pytest.mark.parametrize(
    ("words", "status", "saying"),
    [
        (("hf://datasets/org/name",), 1, "check the network, or HF_ENDPOINT"),
        (("hf://org",), 2, "hf://datasets/org/name/path"),
        (("s3://some-bucket/x",), 1, "s3://some-bucket/x cannot be reached"),
        (("s3://",), 2, "s3://bucket/prefix"),
        (("ftp://host/x",), 2, "ftp://host/x is of a kind we cannot read"),
        (("pairs.csv", "--columns", "prompt"), 2, "ours=theirs"),
        (("pairs.csv", "--columns", "prompt=caption,prompt=left"), 2, "each once"),
        (("pairs.csv", "--columns", "promt=caption"), 2, "did you mean prompt"),
        (("pairs.csv", "--columns", "prompt=name"), 1, "its columns are caption, left, right, choice"),
        (("pairs.csv", "--columns", "prompt=caption"), 1, "no column for image_0"),
        (("pairs.csv", "--columns", "prompt=caption", "--format", "hpdv3"), 2, "hpdv3"),
        (("pairs.csv", "--format", "tabel"), 2, "did you mean table"),
        (("pairs.csv", "--images", "absent"), 1, "--images"),
    ],
)
def test_a_source_named_wrongly(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], status: int, saying: str
) -> None:
    monkeypatch.chdir(foreign_names(tmp_path).parent)
    for name in ("HF_ENDPOINT", "AWS_ENDPOINT_URL"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "word")
    before = tree(store.workspace)
    assert_refused(pairsieve("ingest", *words, "--dataset", "pets"), status=status, saying=saying)
    assert tree(store.workspace) == before


def test_a_table_is_ingested_once_its_columns_are_mapped(store: Store, tmp_path: Path) -> None:
    mapping = "prompt=caption,image_0=left,image_1=right,label=choice"
    done = pairsieve("ingest", foreign_names(tmp_path), "--dataset", "pets", "--columns", mapping, "--json")
    assert done.status == 0, done.err
    assert (done.json()["format"], done.json()["pairs_added"]) == ("table", 1)


def test_bad_rows_can_be_left_out_and_are_counted(store: Store, tmp_path: Path) -> None:
    done = pairsieve("ingest", empty_prompt(tmp_path), "--dataset", "pets", "--skip-bad-rows", "--json")
    assert done.status == 0, done.err
    report = done.json()
    assert report["pairs_added"] == 5
    assert sum(report["skipped"].values()) == 1


def test_a_corrupt_jpeg_costs_one_row_a_status_and_never_the_job(store: Store, tmp_path: Path) -> None:
    first, *others = rows(6)
    write(
        tmp_path / "s" / "p.parquet", [replace(first, raw=(("jpg_0", b"\xff\xd8 broken"),)), *others], row_group_size=4
    )
    assert pairsieve("ingest", tmp_path / "s", "--dataset", "pets").status == 0
    done = pairsieve("score", "pets", "--scorers", "technical", "--json")
    assert done.status == 0, done.err
    assert done.json()["failed"] == {"corrupt": 1}
    assert done.json()["progress"]["units_done"] == done.json()["progress"]["units_total"]


@pytest.fixture(scope="module")
def scored_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with twelve pairs scored by `technical`, in snapshot 1."""
    folder = tmp_path_factory.mktemp("scored")
    write(folder / "s" / "p.parquet", rows(12), row_group_size=4)
    for words in (
        ("ingest", folder / "s", "--dataset", "pets"),
        ("score", "pets", "--scorers", "technical"),
        ("snapshot", "create"),
    ):
        assert pairsieve("--store", folder / "store", *words).status == 0
    return folder / "store"


@pytest.fixture
def scored(store: Store, scored_once: Path) -> Store:
    """A copy of it."""
    shutil.copytree(scored_once, store.workspace, dirs_exist_ok=True)
    return store


@pytest.mark.parametrize(
    ("words", "status", "saying"),
    [
        (("score", "pets", "--scorers", "tecnical"), 2, "technical"),
        (("score", "pets", "--scorers", " , "), 2, "--scorers"),
        (("score", "dogs", "--scorers", "technical"), 2, "dogs"),
        (("score", "pets", "--scorers", "technical", "--device", "warp"), 2, "--device"),
        (("rank", "pets", "--metric", "magic", "--scorer", "technical"), 2, "magic"),
        (("rank", "pets", "--scorer", "clip-toy"), 2, "clip-toy"),
        (("rank", "pets"), 2, "scorer"),
        (("rank", "pets", "--scorer", "technical", "--snapshot", "99"), 1, "99"),
        (("rank", "pets", "--scorer", "technical", "--normalize", "wild"), 2, "normalize"),
        (("rank", "dogs", "--scorer", "technical"), 2, "dogs"),
        (("subset", "create", "x", "--dataset", "pets", "--scorer", "technical", "--top", "lots"), 2, "--top"),
        (("subset", "create", "x", "--dataset", "pets", "--scorer", "technical", "--top", "0%"), 2, "percent"),
        (("subset", "create", "x", "--dataset", "pets", "--scorer", "technical", "--top", "nan%"), 2, "percent"),
        (("subset", "create", "../x", "--dataset", "pets", "--scorer", "technical"), 2, "../x"),
        (("subset", "create", "x", "--scorer", "technical"), 2, "--dataset"),
        (("subset", "create", "x", "--recipe", "absent.yaml"), 2, "absent.yaml"),
        (("subset", "show", "unknown"), 2, "unknown"),
        (("subset", "export", "unknown", "out", "--to", "uids"), 2, "unknown"),
        (("train", "--subset", "unknown"), 2, "unknown"),
        (("train", "--subset", "unknown", "--config", "absent.yaml"), 2, "absent.yaml"),
        (("train", "--subset", "unknown", "--set", "steps"), 2, "key=value"),
        (("evaluate", "0123456789abcdef"), 1, "0123456789abcdef"),
        (("evaluate", "../../etc"), 2, "etc"),
        (("ingest", "x", "--dataset", "Not A Name"), 2, "Not A Name"),
        (("ingest", ".", "--dataset", "pets", "--format", "magic"), 2, "magic"),
    ],
)
def test_a_wrong_word_is_named(
    scored: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], status: int, saying: str
) -> None:
    monkeypatch.chdir(tmp_path)
    before = tree(scored.workspace)
    assert_refused(pairsieve(*words), status=status, saying=saying)
    # Looking may derive a wide table; nothing that counts may change.
    kept = {name: data for name, data in tree(scored.workspace).items() if not name.startswith("wide/")}
    assert kept == {name: data for name, data in before.items() if not name.startswith("wide/")}


@pytest.mark.parametrize(
    ("words", "saying"),
    [
        (("trane",), "'train'"),
        (("--stor", "x", "train"), "--store"),
        (("train", "--sbuset", "x"), "--subset"),
        (("train", "--subset"), "'--subset' requires an argument"),
        (("train", "--processes", "0"), "'--processes'"),
        (("train", "best"), "`pairsieve train --help`"),
        (("style", "measure"), "`pairsieve style measure --help`"),
        (("toyworld", "x", "--noise-kind", "loud"), "'mixed', 'uniform', 'raters', 'hard'"),
    ],
)
def test_a_command_line_that_does_not_parse_is_one_line_that_says_where_to_look(
    words: tuple[str, ...], saying: str
) -> None:
    assert_refused(pairsieve(*words), status=2, saying=saying)


@pytest.mark.parametrize("words", [(), ("style",), ("cache",)])
def test_a_group_without_a_command_says_which_there_are(words: tuple[str, ...]) -> None:
    done = pairsieve(*words)
    assert done.status == 2
    assert done.err.startswith(f"Usage: {' '.join(['pairsieve', *words])} [OPTIONS] COMMAND")
    assert "error: " not in done.err


def test_a_subset_that_would_be_empty_is_refused(scored: Store, tmp_path: Path) -> None:
    recipe = tmp_path / "none.yaml"
    recipe.write_text(
        "name: none\ndataset: pets\nmetric: {name: margin, scorer: technical}\ntake: {percent: 5.33}\n"
        "where: {field: technical.gap, op: gt, value: 1000}\n"
    )
    assert_refused(pairsieve("subset", "create", "none", "--recipe", recipe), status=1, saying="selects no pair")
    assert not list((scored.workspace).glob("subsets/**/*"))


def test_no_snapshot_yet(store: Store) -> None:
    assert_refused(pairsieve("rank", "pets", "--scorer", "technical"), status=1, saying="snapshot create")


def test_a_store_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    refused = pairsieve("--store", tmp_path / "file", "snapshot", "list")
    assert_refused(refused, status=1, saying="PAIRSIEVE_STORE")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere; the test above covers the same line")
def test_a_store_without_permission(tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    refused = pairsieve("--store", tmp_path / "locked", "snapshot", "list")
    assert_refused(refused, status=1, saying="PAIRSIEVE_STORE")


def test_a_demo_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert_refused(pairsieve("demo", "--folder", tmp_path / "file"), status=1, saying="file")


def test_debug_shows_where_it_happened(store: Store) -> None:
    from ranking.errors import PairsieveError

    with pytest.raises(PairsieveError):
        pairsieve("--debug", "rank", "pets", "--scorer", "technical")


def test_help_names_every_command() -> None:
    done = pairsieve("--help")
    assert done.status == 0
    for command in [
        "demo",
        "ingest",
        "score",
        "snapshot",
        "rank",
        "subset",
        "train",
        "evaluate",
        "serve",
        "worker",
        "beat",
        "up",
        "schedule",
    ]:
        assert command in done.out


def test_jobs_and_runs_are_listed(scored: Store) -> None:
    (job,) = pairsieve("jobs", "--json").json()
    assert (job["done"], job["given up"]) == ("1 of 1", 0)
    assert job["job"] in pairsieve("jobs").out
    assert pairsieve("runs", "--json").json() == []
