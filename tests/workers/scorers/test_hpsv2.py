"""HPSv2 on a tiny model of noise: our view, tokenizer and tower against those of the package hpsv2 1.2.0."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.workers.clip_scorers import ATOL, hps_files, scores, spec
from tests.workers.hard_prompts import PROMPTS as HARD
from tests.workers.tiny_clip import SIDE, open_clip_model
from workers.scorers import clip
from workers.scorers.runtime import Runtime
from workers.scorers.views import crop, float_crop

GOLDEN = json.loads((Path(__file__).parent / "golden" / "hpsv2.json").read_text())


@pytest.fixture(scope="module")
def hps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hps_files(tmp_path_factory.mktemp("hps"))


def test_hpsv2_is_that_of_its_own_package(hps: Path) -> None:
    shapes = {key: list(value.shape) for key, value in open_clip_model().state_dict().items()}
    assert GOLDEN["keys"] == shapes
    made = clip.clip_score(spec(hps, float_crop(SIDE), layout="state_dict", tokenizer="open_clip"), Runtime())
    np.testing.assert_allclose(scores(made, HARD, float_crop(SIDE)), GOLDEN["scores"], rtol=0, atol=ATOL)


def test_hpsv2_on_pillows_crop_would_be_noticed(hps: Path) -> None:
    made = clip.clip_score(spec(hps, crop(SIDE), layout="state_dict", tokenizer="open_clip"), Runtime())
    off = np.abs(scores(made, HARD, crop(SIDE)) - GOLDEN["scores"]).max(1)
    assert off[0] < ATOL  # a picture of the tower's own size is not resized
    assert off[1:].min() > 100 * ATOL
