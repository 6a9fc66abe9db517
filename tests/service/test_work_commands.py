"""`schedule`, `worker`, `beat` and `up` on the command line: what they refuse, and what they say."""

import json
from pathlib import Path

import pytest
from command_line import pairsieve
from hypothesis import given
from hypothesis import strategies as st
from pickapic_factory import rows, write

from ranking.datasets import Dataset
from ranking.errors import UsageError
from ranking.schedules import get_schedule, list_schedules
from ranking.store.blobs import Store
from ranking.subsets.recipe import parse_recipe
from service.commands.work import seconds_of, text_of

RECIPE = {"name": "best", "dataset": "pets", "metric": {"name": "qsd", "scorer": "technical"}, "take": {"count": 2}}


@given(st.integers(1, 10**7))
def test_a_length_of_time_is_read_as_it_is_written(seconds: int) -> None:
    assert seconds_of(text_of(float(seconds))) == seconds


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("1.5h", 5400), (" 2 d ", 172_800), ("1w", 604_800)]
)
def test_lengths_of_time_people_write(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "0s", "-1d", "1y", "soon", "1d2h", "1e3s"])
def test_what_is_no_length_of_time_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not a length of time"):
        seconds_of(text)


def test_a_schedule_is_added_listed_replaced_and_removed(store: Store, dataset: Dataset, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(json.dumps(RECIPE))
    words = ["schedule", "add", "nightly", "--dataset", dataset.name, "--scorers", "technical, technical-exposure"]
    added = pairsieve(*words, "--every", "6h", "--recipe", recipe, "--set", "steps=3", "--json")
    assert added.status == 0, added.err
    kept = get_schedule(store, "nightly")
    assert (kept.every_seconds, kept.scorers) == (21_600.0, ("technical", "technical-exposure"))
    assert kept.train is not None and kept.train["steps"] == 3
    assert parse_recipe(kept.recipe).canonical() == parse_recipe(RECIPE).canonical()
    (row,) = pairsieve("schedule", "list", "--json").json()
    assert (row["state"], row["ticks"], row["subset"], row["trains"]) == ("new", 0, "best", True)
    assert "6h" in pairsieve("schedule", "list").out
    assert pairsieve(*words, "--every", "1d", "--json").status == 0
    assert get_schedule(store, "nightly").every_seconds == 86_400.0
    assert pairsieve("schedule", "remove", "nightly", "--json").json() == {"removed": "nightly"}
    assert list_schedules(store) == []


def test_a_schedule_names_a_scorers_precision_as_a_command_does(store: Store, dataset: Dataset) -> None:
    words = ["schedule", "add", "nightly", "--dataset", dataset.name, "--every", "6h", "--json", "--scorers"]
    assert pairsieve(*words, "technical,clip-toy:bf16").status == 0
    assert get_schedule(store, "nightly").scorers == ("technical", "clip-toy:bf16")
    refused = pairsieve(*words, "clip-toy:int8")
    assert refused.status == 2 and "none of fp32, bf16, fp16" in refused.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--dataset", "nobody", "--scorers", "technical"], "unknown dataset 'nobody'"),
        (["--dataset", "pets", "--scorers", "tecnical"], "unknown scorer 'tecnical'; did you mean technical"),
        (["--dataset", "pets", "--scorers", "technical", "--every", "often"], "'often' is not a length of time"),
        (["--dataset", "pets", "--scorers", "technical", "--source", "/no/such"], "source /no/such does not exist"),
        (["--dataset", "pets", "--scorers", "technical", "--set", "steps=3"], "trains without a recipe"),
        (["--dataset", "pets", "--scorers", ","], "no name given"),
    ],
)
@pytest.mark.usefixtures("dataset")
def test_a_schedule_that_cannot_work_is_refused_in_one_line(store: Store, words: list[str], message: str) -> None:
    refused = pairsieve("schedule", "add", "nightly", *words)
    assert (refused.status, refused.out, len(refused.err.splitlines())) == (2, "", 1)
    assert message in refused.err and list_schedules(store) == []


def test_a_recipe_for_another_dataset_is_refused(store: Store, dataset: Dataset, tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text(json.dumps(RECIPE | {"dataset": "cats"}))
    words = ["--dataset", dataset.name, "--scorers", "technical", "--recipe", tmp_path / "r.json"]
    refused = pairsieve("schedule", "add", "nightly", *words)
    assert refused.status == 2 and "the recipe is for dataset cats, not pets" in refused.err
    assert list_schedules(store) == []


def test_a_remote_source_is_kept_as_it_is_written(store: Store) -> None:
    for source in ("hf://datasets/org/pairs@main/data", "s3://bucket/prefix"):
        words = ("--dataset", "new", "--scorers", "technical", "--source", source)
        assert pairsieve("schedule", "add", "nightly", *words).status == 0
        assert get_schedule(store, "nightly").source == source
    refused = pairsieve(
        "schedule", "add", "nightly", "--dataset", "new", "--scorers", "technical", "--source", "ftp://x"
    )
    assert (refused.status, "of a kind we cannot read" in refused.err) == (2, True)


def test_a_source_may_name_a_dataset_that_does_not_exist_yet(store: Store, tmp_path: Path) -> None:
    write(tmp_path / "source/a.parquet", rows(3))
    words = ["--dataset", "new", "--scorers", "technical", "--source", tmp_path / "source"]
    assert pairsieve("schedule", "add", "nightly", *words).status == 0
    assert get_schedule(store, "nightly").source == str(tmp_path / "source")


@pytest.mark.parametrize("command", ["worker", "beat", "up"])
@pytest.mark.usefixtures("store")
def test_nothing_starts_on_an_open_redis(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAIRSIEVE_BROKER", "redis://10.1.2.3:6379/0")
    refused = pairsieve(command)
    assert (refused.status, len(refused.err.splitlines())) == (2, 1)
    assert "has no password" in refused.err and "PAIRSIEVE_ALLOW_OPEN_REDIS" in refused.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["worker", "--queues", "scores"], "unknown queue 'scores'; did you mean score"),
        (["worker", "--name", "A b"], "worker name 'A b' is not allowed"),
        (["worker", "--log-level", "loud"], "unknown log level 'loud'"),
        (["beat", "--log-level", "loud"], "unknown log level 'loud'"),
    ],
)
@pytest.mark.usefixtures("store")
def test_bad_options_are_refused_in_one_line(words: list[str], message: str) -> None:
    refused = pairsieve(*words)
    assert (refused.status, len(refused.err.splitlines())) == (2, 1) and message in refused.err


@pytest.mark.usefixtures("store")
def test_up_listens_on_this_machine_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAIRSIEVE_HOST", "0.0.0.0")
    refused = pairsieve("up")
    assert refused.status == 2 and "would let other machines in" in refused.err


def test_a_store_that_is_not_writable_is_refused_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PAIRSIEVE_STORE", str(tmp_path / "file" / "store"))
    for command in ("worker", "beat", "up"):
        refused = pairsieve(command)
        assert (refused.status, len(refused.err.splitlines())) == (1, 1) and "cannot be used" in refused.err
