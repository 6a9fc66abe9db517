"""Published weights: what fixes each file is documented as it is, and no address is left to a moving branch unsaid."""

import re
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import pytest

from workers.scorers import catalog
from workers.scorers.files.places import HubFile, below, place_of
from workers.scorers.weights import Asset

PAGE = Path(__file__).parents[3] / "docs" / "weights.md"
NAMED = [
    asset
    for module in iter_modules(catalog.__path__, f"{catalog.__name__}.")
    for spec in import_module(module.name).SPECS
    for asset in spec.assets
]
ASSETS = {asset.name: asset for asset in NAMED}
ROWS = {found[1]: found[2] for found in re.finditer(r"^\| `([^`]+)` \| ([^|]+?) \|", PAGE.read_text(), re.M)}


def fixed_by(asset: Asset) -> str:
    """What the page should say of a file."""
    if asset.sha256 is not None:
        return f"sha256 `{asset.sha256[:12]}`"
    place = place_of(asset.source)
    return f"commit `{place.revision[:12]}`" if isinstance(place, HubFile) and place.pinned else "first use"


@pytest.mark.parametrize("name", ASSETS)
def test_the_page_says_what_fixes_each_file(name: str) -> None:
    assert ROWS[name] == fixed_by(ASSETS[name])


@pytest.mark.parametrize("name", ASSETS)
def test_a_pin_is_a_pin(name: str) -> None:
    asset = ASSETS[name]
    assert below(Path("weights"), name).parts[0] == "weights"
    assert asset.sha256 is None or re.fullmatch(r"[0-9a-f]{64}", asset.sha256)
    assert asset.bytes is None or asset.bytes > 0


def test_one_name_is_one_file_whoever_names_it() -> None:
    assert [asset for asset in NAMED if asset != ASSETS[asset.name]] == []
