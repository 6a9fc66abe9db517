"""Pictures drawn by a model are those that diffusers' own pipeline draws, and depend on prompt and seed alone."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import save_sd, save_sd3, save_sdxl

from ranking.errors import PairsieveError
from training.models.base import DiffusionModel
from training.models.load import load_model

PROMPTS, SEEDS = ["a red star", "a blue circle"], [1, 2]


def drawn_by_diffusers(model: DiffusionModel, folder: Path, guidance: float) -> Any:
    from diffusers import DiffusionPipeline

    without = {} if "t5" in model.description.conditioning else {"text_encoder_3": None, "tokenizer_3": None}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pipeline = DiffusionPipeline.from_pretrained(folder, **(without if model.family == "sd3" else {}))
    pipeline.set_progress_bar_config(disable=True)
    if model.family != "sd3":
        pipeline.scheduler = model.pipeline(model.denoiser).scheduler
    generators = [torch.Generator().manual_seed(seed) for seed in SEEDS]
    images = pipeline(
        PROMPTS, num_inference_steps=3, guidance_scale=guidance, generator=generators, output_type="np"
    ).images
    return np.rint(images * 255).astype(np.int16)


@pytest.mark.parametrize("guidance", [1.0, 3.0])
@pytest.mark.parametrize("family", ["sd", "sd-v", "sdxl", "sdxl-encoded", "sd3", "sd3-t5"])
def test_pictures_are_those_of_diffusers_own_pipeline(family: str, guidance: float, tmp_path: Path) -> None:
    """Text states, time ids, what stands for no prompt, scaling and shift of latents: all of it must agree."""
    folder = {
        "sd": lambda: save_sd(tmp_path),
        "sd-v": lambda: save_sd(tmp_path, prediction="v_prediction"),
        "sdxl": lambda: save_sdxl(tmp_path),
        "sdxl-encoded": lambda: save_sdxl(tmp_path, zeros=False),
        "sd3": lambda: save_sd3(tmp_path),
        "sd3-t5": lambda: save_sd3(tmp_path, t5=True),
    }[family]()
    model = load_model(str(folder), device="cpu")
    ours = model.sample(model.denoiser, PROMPTS, SEEDS, steps=3, guidance=guidance)
    assert ours.shape == (2, 32, 32, 3)
    assert ours.dtype == np.uint8
    assert np.abs(ours - drawn_by_diffusers(model, folder, guidance)).max() <= 1  # of 255


def test_a_picture_depends_on_its_prompt_and_seed_and_on_nothing_beside_it(loaded: dict[str, DiffusionModel]) -> None:
    for model in loaded.values():
        heard: list[int] = []
        together = model.sample(model.denoiser, PROMPTS, SEEDS, steps=2, guidance=3.0)
        alone = model.sample(model.denoiser, PROMPTS, SEEDS, steps=2, guidance=3.0, batch=1, on_images=heard.append)
        assert np.abs(together.astype(int) - alone).max() <= 1
        assert heard == [1, 1]


def test_a_denoiser_that_diverged_draws_no_pictures(loaded: dict[str, DiffusionModel]) -> None:
    model = loaded["tiny_model"]
    broken = model.with_weights(
        {name: torch.full_like(value, torch.nan) for name, value in model.denoiser.state_dict().items()}
    )
    with pytest.raises(PairsieveError, match="pictures that are no numbers"):
        model.sample(broken, PROMPTS, SEEDS, steps=2, guidance=3.0)


@pytest.mark.parametrize("family", ["tiny_model", "tiny_sdxl", "tiny_sd3"])
def test_sampling_in_half_precision_is_close(family: str, folders: dict[str, Path]) -> None:
    plain, half = (load_model(str(folders[family]), device="cpu", precision=each) for each in ("fp32", "bf16"))
    assert half.encode_prompts(PROMPTS).tensors["states"].dtype == torch.float32
    assert next(half.denoiser.parameters()).dtype == torch.float32
    first, second = (each.sample(each.denoiser, PROMPTS, SEEDS, steps=2, guidance=2.0) for each in (plain, half))
    assert 0 < np.abs(first.astype(int) - second).max() < 40
