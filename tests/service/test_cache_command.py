"""`pairsieve cache`: what is kept, and its removal."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from command_line import pairsieve

from training.caches.inventory import kept_bytes
from training.caches.places import Identity
from training.caches.shelf import Shelf, keys_of


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAIRSIEVE_CACHE", str(tmp_path / "cache"))


@contextmanager
def shelf(kind: str, model: str) -> Iterator[Shelf]:
    opened = Shelf(Identity(kind, model, {"of": model}))
    opened.put(keys_of(["1"]), {"value": np.zeros((1, 1000), np.float32)})
    try:
        yield opened
    finally:
        opened.close()


def test_caches_are_listed_with_model_size_and_last_use() -> None:
    assert "Nothing is kept yet" in pairsieve("cache", "list").out
    with shelf("latents", "a model"), shelf("prompts", "another") as other:
        os.utime(other.folder / "in-use", (0, 0))
        listed = pairsieve("cache", "list", "--json").json()
    assert [(each["kind"], each["model"]) for each in listed] == [("latents", "a model"), ("prompts", "another")]
    assert all(4000 < each["bytes"] < 8000 for each in listed)
    assert listed[1]["used"] == "1970-01-01T00:00:00Z"
    assert kept_bytes("a model") == listed[0]["bytes"]


def test_caches_go_by_kind_by_id_or_all_at_once() -> None:
    for kind in ("latents", "prompts", "reference"):
        with shelf(kind, "a model") as opened:
            name = opened.folder.name
    assert pairsieve("cache", "clear", "latents").status == 0
    assert pairsieve("cache", "clear", name[:12]).status == 0
    assert [each["kind"] for each in pairsieve("cache", "list", "--json").json()] == ["prompts"]
    assert pairsieve("cache", "clear", "--all").status == 0
    assert pairsieve("cache", "list", "--json").json() == []


def test_a_cache_that_a_run_uses_stays_until_it_is_done() -> None:
    with shelf("latents", "a model") as opened:
        refused = pairsieve("cache", "clear", "latents")
        assert refused.status == 1
        assert "in use and stay" in refused.err
        assert opened.rows(keys_of(["1"]))["value"].shape == (1, 1000)
    assert pairsieve("cache", "clear", "latents").status == 0


def test_clearing_needs_to_be_told_what() -> None:
    assert pairsieve("cache", "clear").status == 2
    refused = pairsieve("cache", "clear", "latent")
    assert refused.status == 2
    assert "did you mean latents" in refused.err


def test_an_empty_or_short_id_names_no_cache() -> None:
    """An empty word is what a shell makes of "$ID" where ID is not set; every id begins with it."""
    with shelf("latents", "a model") as opened:
        name = opened.folder.name
    for word in ("", name[:3]):
        assert pairsieve("cache", "clear", word).status == 2
    assert opened.folder.exists()
    assert pairsieve("cache", "clear", name[:4]).out.startswith("1 cache is gone, ")
    assert not opened.folder.exists()
