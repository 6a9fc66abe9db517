"""Loaded tiny models: shared where a test only reads them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from training.models.base import DiffusionModel
from training.models.load import load_model

Fresh = Callable[[str], DiffusionModel]


@pytest.fixture(scope="session")
def folders(tiny_model: Path, tiny_sd_v: Path, tiny_sdxl: Path, tiny_sd3: Path) -> dict[str, Path]:
    """The folder of each family, by the name of its fixture."""
    names = ("tiny_model", "tiny_sd_v", "tiny_sdxl", "tiny_sd3")
    return dict(zip(names, (tiny_model, tiny_sd_v, tiny_sdxl, tiny_sd3), strict=True))


@pytest.fixture(scope="session")
def loaded(folders: dict[str, Path]) -> dict[str, DiffusionModel]:
    """One model of each family, to be read and not changed."""
    return {name: load_model(str(folder), device="cpu") for name, folder in folders.items()}


@pytest.fixture
def fresh(folders: dict[str, Path]) -> Fresh:
    """A model of a family that may be changed."""
    return lambda family: load_model(str(folders[family]), device="cpu")
