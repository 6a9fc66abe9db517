"""Tiny models of each family, made once, and a subset of real little pictures."""

from pathlib import Path

import pytest
from pickapic_factory import rows
from subsets import all_pairs
from tiny_models import save_sd, save_sd3, save_sdxl

from ranking.store.blobs import Store
from ranking.subsets.catalog import Subset


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stable Diffusion 1.x: a pipeline folder as diffusers saves one; 32 px, 16×16×4 latents, predicts the noise."""
    return save_sd(tmp_path_factory.mktemp("tiny-sd"))


@pytest.fixture(scope="session")
def tiny_sd_v(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same shape, predicting the velocity as SD 2.1 does."""
    return save_sd(tmp_path_factory.mktemp("tiny-sd-v"), prediction="v_prediction")


@pytest.fixture(scope="session")
def tiny_sdxl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SDXL: two text encoders, pooled states, time ids; 32 px, 16×16×4 latents."""
    return save_sdxl(tmp_path_factory.mktemp("tiny-sdxl"))


@pytest.fixture(scope="session")
def tiny_sd3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stable Diffusion 3 without its T5: a transformer under flow matching; 32 px, 16×16×16 latents."""
    return save_sd3(tmp_path_factory.mktemp("tiny-sd3"))


@pytest.fixture
def subset(store: Store, tmp_path: Path) -> Subset:
    """All twelve pairs of a small dataset."""
    return all_pairs(store, tmp_path, rows(12))
