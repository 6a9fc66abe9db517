"""Towers in half precision: the blocks alone, and what follows them in float32 with the file's own numbers."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.workers.clip_scorers import openai_files, spec
from tests.workers.tiny_clip import PROMPTS, SIDE, pictures
from tests.workers.tiny_siglip import SHORT, siglip_spec
from workers.scorers import clip, towers
from workers.scorers.base import Batch, ScorerSpec
from workers.scorers.runtime import Runtime
from workers.scorers.views import crop, squash


@pytest.fixture(scope="module")
def openai(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    return openai_files(tmp_path_factory.mktemp("openai"))


@pytest.fixture(scope="module")
def siglip(tmp_path_factory: pytest.TempPathFactory) -> tuple[ScorerSpec, dict[str, torch.Tensor]]:
    return siglip_spec(tmp_path_factory.mktemp("siglip"))


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_is_of_the_blocks_alone(precision: str, openai: tuple[Path, dict[str, Any]]) -> None:
    folder, config = openai
    exact = spec(folder, crop(SIDE), layout="open_clip", tokenizer="open_clip", config=config)
    half = exact.at({"bfloat16": "bf16", "float16": "fp16"}[precision])
    batch = Batch.of(pictures(), PROMPTS, [crop(SIDE)])
    right, rough = clip.clip_score(exact, Runtime())(batch), clip.clip_score(half, Runtime())(batch)
    # Measured: 4.2e-3 in bfloat16 and 4.1e-4 in float16. Were the product in halves, scores would lie on their grid.
    assert 1e-6 < np.abs(rough - right).max() < {"bfloat16": 2e-2, "float16": 2.5e-3}[precision]
    on_grid = torch.from_numpy(rough).to(getattr(torch, precision)).float().numpy()
    assert (on_grid != rough).all()


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@pytest.mark.parametrize("family", ["clip", "siglip"])
def test_what_follows_the_blocks_keeps_the_files_float32(
    family: str,
    precision: str,
    openai: tuple[Path, dict[str, Any]],
    siglip: tuple[ScorerSpec, dict[str, torch.Tensor]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder, config = openai
    made = spec(folder, crop(SIDE), layout="open_clip", tokenizer="open_clip", config=config)
    made, view = (made, crop(SIDE)) if family == "clip" else (siglip[0], squash(32))
    made = made.at({"bfloat16": "bf16", "float16": "fp16"}[precision])
    models: list[Any] = []
    filled = towers.filled
    monkeypatch.setattr(towers, "filled", lambda *a, **k: models.append(filled(*a, **k)) or models[-1])
    score = clip.clip_score(made, Runtime())
    (model,) = models
    kept = {name: value for name, value in model.named_parameters() if value.dtype == torch.float32}
    assert {value.dtype for value in model.parameters()} == {torch.float32, getattr(torch, precision)}
    roots = {".".join(name.split(".")[: 2 if name.startswith(("visual.", "text.")) else 1]) for name in kept}
    assert roots == (
        {"visual.ln_post", "visual.proj", "ln_final", "text_projection", "logit_scale"}
        if family == "clip"
        else {"visual.trunk", "text.ln_final", "text.text_projection", "logit_scale", "logit_bias"}
    )
    pooled = model.visual.ln_post if family == "clip" else model.visual.trunk.attn_pool
    outputs: list[torch.Tensor] = []
    pooled.register_forward_hook(lambda module, inputs, output: outputs.append(output))
    score(Batch.of(pictures(), PROMPTS if family == "clip" else SHORT[:3], [view]))
    assert [output.dtype for output in outputs] == [torch.float32]
