"""`pairsieve scorers`: what it lists and shows, how it fetches, and the documented example of a package."""

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from command_line import pairsieve
from model_hub import ModelHub, model_hub, sha
from pyarrow import parquet

from ranking.datasets import Dataset
from ranking.images.decode import decode_rgb
from ranking.images.reader import ImageReader
from ranking.store.blobs import Store
from ranking.store.commits import list_commits
from workers.scorers.files import pull, wire
from workers.scorers.files.wire import PullError
from workers.scorers.installed import installed
from workers.scorers.registry import choose

ROOT = Path(__file__).parents[2]
DATA = bytes(range(256)) * 4096


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ModelHub]:
    """A hub with one model, and an installed package with two scorers that need it."""
    monkeypatch.setenv("PAIRSIEVE_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("PAIRSIEVE_STORE", str(tmp_path / "no-store"))
    monkeypatch.setattr(wire.time, "sleep", lambda seconds: None)
    place = tmp_path / "packages"
    code = """
        from workers.scorers.base import Cost, ScorerSpec
        from workers.scorers.weights import Asset
        MODEL = Asset("far/model.bin", source="hf://org/model@main/model.bin")
        CONFIG = Asset("far/config.json", source="hf://org/model@main/config.json")
        SPECS = [
            ScorerSpec("far", "a far one", "json:loads", assets=(MODEL, CONFIG), weights_licence="CC-BY-NC-4.0",
                       range="0 to 1, mostly 0.5", cost=Cost(parameters=2_500_000)),
            ScorerSpec("farther", "shares the model", "json:loads", assets=(MODEL,), weights_licence="MIT"),
        ]
    """
    install(place, "far-scorers", "far_scorers", "\n".join(line[8:] for line in code.splitlines()), "SPECS")
    monkeypatch.syspath_prepend(place)
    installed.cache_clear()
    with model_hub() as found:
        monkeypatch.setenv("HF_ENDPOINT", found.url)
        found.files = {"model.bin": DATA, "config.json": b"{}"}
        yield found
    installed.cache_clear()
    sys.modules.pop("far_scorers", None)


def only_here(send: Callable[..., httpx2.Response]) -> Callable[..., httpx2.Response]:
    """The same, but as on a machine that reaches nobody else."""

    def sent(client: httpx2.Client, request: httpx2.Request, **more: Any) -> httpx2.Response:
        if request.url.host != "127.0.0.1":
            raise httpx2.ConnectError("no route")
        return send(client, request, **more)

    return sent


def install(place: Path, package: str, module: str, code: str, name: str, entry: str = "far") -> None:
    """What pip leaves of a package: its module, and its entry point in a .dist-info folder."""
    info = place / f"{package.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (place / f"{module}.py").write_text(code)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[pairsieve.scorers]\n{entry} = {module}:{name}\n")


def listed(name: str) -> dict[str, object]:
    return next(row for row in pairsieve("scorers", "--json").json() if row["scorer"] == name)


def test_scorers_are_listed_with_their_terms_cost_range_and_what_they_see(hub: ModelHub) -> None:
    toy = listed("clip-toy")
    assert str(toy["id"]).startswith("clip-toy@")
    assert (toy["ready"], toy["licence"], toy["parameters"]) == (True, "Apache-2.0", choose("clip-toy").cost.parameters)
    assert (toy["sees"], toy["range"], toy["precisions"]) == (
        ["shortest crop 64 bicubic"],
        "-1 to 1",
        ["fp32", "bf16", "fp16"],
    )
    far = listed("far")
    assert (far["id"], far["ready"], far["weights"], far["non_commercial"]) == (None, False, "missing", True)
    assert "scorers pull far" in str(far["why"])
    assert listed("farther")["non_commercial"] is False
    lines = pairsieve("scorers").out.splitlines()
    (line,) = [line for line in lines if line.startswith("far ")]
    assert re.split(r"\s{2,}", line.strip()) == ["far", "missing", "2.5 M", "Apache-2.0, CC-BY-NC-4.0", "NC"]


def test_weights_are_pulled_shown_and_pulled_once(hub: ModelHub, tmp_path: Path) -> None:
    done = pairsieve("scorers", "pull", "far", "farther:bf16")
    assert done.status == 0, done.err
    assert "2 files to fetch, 1.05 MB" in done.err
    assert "far: its terms forbid commercial use (CC-BY-NC-4.0)." in done.err
    assert re.search(r"ready +far, farther", done.out)
    assert (tmp_path / "weights" / "far" / "model.bin").read_bytes() == DATA
    far = listed("far")
    assert far["ready"] and str(far["id"]).startswith("far@")
    shown = pairsieve("scorers", "show", "far").out
    assert "far/model.bin" in shown and "the hub" in shown
    hub.asked.clear()
    again = pairsieve("scorers", "pull", "far", "--json").json()
    assert (again["fetched"], again["failed"], hub.asked) == ([], [], [])
    (files,) = [each["files"] for each in again["scorers"]]
    assert {file["file"]: file["sha256"] for file in files} == {
        "far/model.bin": sha(DATA),
        "far/config.json": sha(b"{}"),
    }


def test_weights_that_were_changed_are_wrong_and_are_pulled_again(hub: ModelHub, tmp_path: Path) -> None:
    assert pairsieve("scorers", "pull", "farther").status == 0
    path = tmp_path / "weights" / "far" / "model.bin"
    path.write_bytes(b"rival")
    assert listed("farther")["weights"] == "wrong"
    refused = pairsieve("score", "pets", "--scorers", "farther")
    assert (refused.status, refused.out) == (1, ""), refused.err
    assert re.fullmatch(r"error: .*/model\.bin is another file: .* `pairsieve scorers pull`.*\n", refused.err)
    assert pairsieve("scorers", "pull", "farther").status == 0
    assert path.read_bytes() == DATA


def test_missing_weights_are_refused_before_anything_is_planned(
    hub: ModelHub, store: Store, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = pairsieve("score", dataset.name, "--scorers", "technical,far")
    assert (refused.status, refused.out) == (1, "")
    assert re.fullmatch(
        r"error: the weights far/model\.bin are not on this machine: .* scorers pull far`\n", refused.err
    )
    assert (store.list("jobs"), hub.asked) == ([], [])


def test_what_cannot_be_fetched_is_told_at_the_end_and_the_rest_is_here(
    hub: ModelHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_index(*_: object) -> str:
        raise PullError("there is no package index")

    monkeypatch.setattr(pull, "receive_package", no_index)
    monkeypatch.setattr(wire, "TRIES", 1)  # for the addresses of others, which a test does not reach
    monkeypatch.setattr(httpx2.Client, "send", only_here(httpx2.Client.send))
    del hub.files["config.json"]
    done = pairsieve("scorers", "pull", "--all", "--json")
    assert done.status == 1
    failed = {each["file"] for each in done.json()["failed"]}
    assert "far/config.json" in failed and "far/model.bin" not in failed
    assert done.err.startswith("error: ") and done.err.count("\n") == 1
    assert listed("farther")["ready"]


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (("pull",), 2, "name the scorers to fetch, or all"),
        (("pull", "far", "--all"), 2, "name the scorers to fetch, or all"),
        (("pull", "clip-toi"), 2, "unknown scorer 'clip-toi'; did you mean clip-toy"),
        (("show", "tecnical"), 2, "did you mean technical"),
        (("pull", "clip-toy:int8"), 2, "none of fp32, bf16, fp16"),
    ],
)
def test_a_name_that_is_none_is_one_line(words: tuple[str, ...], status: int, message: str) -> None:
    done = pairsieve("scorers", *words)
    assert (done.status, done.out) == (status, "")
    assert message in done.err and done.err.count("\n") == 1


def test_a_package_that_is_broken_is_told_and_the_others_are_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "broken", "broken_scorers", "import nowhere_at_all", "SPECS")
    monkeypatch.syspath_prepend(tmp_path)
    installed.cache_clear()
    try:
        done = pairsieve("scorers", "--json")
    finally:
        installed.cache_clear()
    assert done.status == 0
    assert "technical" in {row["scorer"] for row in done.json()}
    assert "not used: the package broken 1.0" in done.err and "nowhere_at_all" in done.err


def test_a_precision_that_is_none_is_refused_and_what_has_no_weights_is_left_alone(
    store: Store, dataset: Dataset
) -> None:
    words = ("score", dataset.name, "--scorers", "technical", "--json", "--precision")
    refused = pairsieve(*words, "int8")
    assert refused.status == 2 and "none of fp32, bf16, fp16" in refused.err
    assert pairsieve(*words, "bf16").json()["progress"]["units_done"] == len(dataset.slices)
    assert {commit.scorer_id for commit in list_commits(store)} >= {listed("technical")["id"]}


def documented_package() -> tuple[str, str]:
    """The pyproject.toml and the module of the example in docs/scorers.md."""
    page = (ROOT / "docs" / "scorers.md").read_text(encoding="utf-8")
    section = page.partition("## Bring your own")[2].partition("\n## ")[0]
    blocks = [
        "\n".join(line[4:] for line in block.splitlines())
        for block in re.findall(r"(?:^(?:    .*)?\n)+", section, re.M)
    ]
    project = next(block for block in blocks if "[project]" in block)
    module = next(block for block in blocks if "SPECS = (" in block)
    return project, module


def test_the_documented_package_works_as_it_is_printed(store: Store, dataset: Dataset, tmp_path: Path) -> None:
    text, code = documented_package()
    project = tomllib.loads(text)["project"]
    ((entry, value),) = project["entry-points"]["pairsieve.scorers"].items()
    module, _, name = value.partition(":")
    install(tmp_path / "site", project["name"], module, code, name, entry)
    path = os.pathsep.join([str(tmp_path / "site"), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path}

    def run(*words: str) -> object:
        command = [sys.executable, "-m", "service.cli", *words, "--json"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    (row,) = [row for row in run("scorers") if row["scorer"] == "redness"]  # type: ignore[attr-defined]
    assert row["ready"] and row["summary"] in code
    run("score", dataset.name, "--scorers", "redness")
    found = {}
    for commit in list_commits(store):
        if commit.scorer_id == row["id"]:
            for line in parquet.read_table(store.local(commit.file)).to_pylist():
                found[line["image_uid"]] = line["score"]
    pictures = ImageReader(store, dataset).read(list(found))
    expected = {uid: np.asarray(decode_rgb(data))[..., 0].mean() for uid, data in pictures.items()}
    assert len(found) > 1
    assert found == pytest.approx(expected, rel=1e-6)
