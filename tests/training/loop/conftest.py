"""Loaded models with a denoiser of their own for each test, and what most tests do with them."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from training.config import TrainConfig, parse_config
from training.models.base import DiffusionModel
from training.models.load import load_model

Fresh = Callable[[], DiffusionModel]


@pytest.fixture(scope="session")
def loaded(tiny_model: Path) -> DiffusionModel:
    """Stable Diffusion of a few thousand weights. Tests take `fresh()`."""
    return load_model(str(tiny_model), device="cpu")


@pytest.fixture
def fresh(loaded: DiffusionModel) -> Fresh:
    """The same model again and again, each with weights of its own to train."""

    def made() -> DiffusionModel:
        model = copy.copy(loaded)
        model.denoiser = copy.deepcopy(loaded.denoiser)
        return model

    return made


@pytest.fixture
def config_of(tiny_model: Path) -> Callable[..., TrainConfig]:
    """Three steps of four pairs, without warm-up; what is named differs."""

    def made(**changes: Any) -> TrainConfig:
        values = {"steps": 3, "batch": 4, "warmup": 0, "learning_rate": 1e-3, "device": "cpu", "evaluation": None}
        return parse_config({"model": str(tiny_model)} | values | changes)

    return made
