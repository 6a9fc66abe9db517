"""Settings come from PAIRSIEVE_ variables, and a wrong one is a clear line."""

import pytest

from ranking.errors import UsageError
from ranking.settings import load_settings


def test_defaults_are_those_of_a_laptop() -> None:
    settings = load_settings()
    assert (settings.store, settings.broker, settings.host) == ("./pairsieve-data", None, "127.0.0.1")
    assert (settings.slice_items, settings.max_attempts) == (2048, 3)


def test_an_environment_variable_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAIRSIEVE_SLICE_ITEMS", "16")
    assert load_settings().slice_items == 16


@pytest.mark.parametrize(
    ("name", "value"), [("SLICE_ITEMS", "0"), ("PORT", "http"), ("PORT", "70000"), ("LEASE_SECONDS", "-1")]
)
def test_a_value_that_does_not_fit_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"PAIRSIEVE_{name}", value)
    with pytest.raises(UsageError, match=f"PAIRSIEVE_{name}"):
        load_settings()
