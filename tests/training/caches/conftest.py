"""A cache folder of the test's own, and shelves in it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from training.caches.places import Identity
from training.caches.shelf import Shelf


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this test's caches lie."""
    monkeypatch.setenv("PAIRSIEVE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "training"


@pytest.fixture
def open_shelf(cache: Path) -> Callable[..., Shelf]:
    """Opens the shelf of some identity, another time or for another process."""
    assert not cache.exists()
    return lambda **key: Shelf(Identity("numbers", "a model", key))
