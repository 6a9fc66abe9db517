"""docs/methods.md has every method and every option as the code has them."""

from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
from pydantic.fields import FieldInfo

from training.methods.needs import needs
from training.methods.options import METHODS, Guarded

PAGE = (Path(__file__).parents[3] / "docs" / "methods.md").read_text(encoding="utf-8")
WORDS = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most"}


def section(name: str) -> str:
    """What stands below a method's heading."""
    parts = PAGE.split(f"\n### {name}\n")
    assert len(parts) == 2, f"docs/methods.md has no heading of {name}"
    return parts[1].split("\n## ")[0].split("\n### ")[0]


def row(option: str, field: FieldInfo) -> str:
    """The line of an option: its default, range and description."""
    bounds = [
        f"{word} {getattr(each, key):g}"
        for each in field.metadata
        for key, word in WORDS.items()
        if getattr(each, key, None) is not None
    ]
    if get_origin(field.annotation) is Literal:
        bounds = [f"`{value}`" for value in get_args(field.annotation)]
    if field.annotation is bool:
        bounds = ["`true`", "`false`"]
    if field.annotation is str:
        bounds = ["a name"]
    return f"| `{option}` | {plain(field.default)} | {', '.join(bounds)} | {field.description} |"


def plain(value: Any) -> str:
    """A default as it would be written in YAML."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_has_its_section_and_every_option_its_row(name: str) -> None:
    found = section(name)
    for option, field in METHODS[name].model_fields.items():
        if option not in ("name", "safeguard"):
            assert row(option, field) in found.splitlines(), row(option, field)
    rows = [line for line in found.splitlines() if line.startswith("| `")]
    assert len(rows) == len(set(METHODS[name].model_fields) - {"name", "safeguard"}), "a row of an option that is gone"


def test_what_all_have_stands_once() -> None:
    assert row("safeguard", Guarded.model_fields["safeguard"]) in PAGE.splitlines()


@pytest.mark.parametrize("name", METHODS)
def test_the_first_table_says_what_a_method_needs_and_how_sure_its_source_is(name: str) -> None:
    (line,) = [line for line in PAGE.splitlines() if line.startswith(f"| `{name}` |") and line.count("|") == 6]
    _, _, _, needed, source, _, _ = line.split("|")
    wants = needs(METHODS[name]())
    assert ("reference" in needed) == wants.reference
    assert ("that runs" in needed) == wants.reference_predictions
    assert ("features" in needed) == wants.features
    assert ("whole step" in needed) == wants.whole_step
    assert ("winners only" in needed) == (not wants.losers)
    assert source.strip() == ("reconstruction" if name == "rpo" else "verified")
    assert ("reconstruction" in section(name)) == (name == "rpo")
