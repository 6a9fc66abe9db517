"""What a run leaves is what diffusers loads and draws with."""

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_inputs import predicted
from tiny_models import save_sd3

from benchmarks.full_size import write_configs
from training.blocks import LoraConfig, SaveConfig
from training.models.base import DiffusionModel
from training.models.describe import describe
from training.models.load import load_model
from training.models.lora import add_adapters
from training.models.saving import saves_pipeline
from training.models.sources import ModelError

FAMILIES = ("tiny_model", "tiny_sdxl", "tiny_sd3")


def tuned(model: DiffusionModel) -> DiffusionModel:
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for each in model.denoiser.parameters():
            each.add_(torch.randn(each.shape, generator=generator) * 0.05)
    return model


def pipeline_from(folder: Path, model: DiffusionModel, **parts: Any) -> Any:
    from diffusers import DiffusionPipeline

    if model.family == "sd3":
        parts |= {"text_encoder_3": None, "tokenizer_3": None}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pipeline = DiffusionPipeline.from_pretrained(folder, **parts)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def draw(pipeline: Any) -> Any:
    generator = torch.Generator().manual_seed(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # diffusers' Euler scheduler and NumPy 2 disagree about __array__
        return pipeline("a red star", num_inference_steps=2, generator=generator, output_type="np").images


def denoiser_of(pipeline: Any, model: DiffusionModel) -> Any:
    return getattr(pipeline, model.description.part)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_small_model_leaves_a_pipeline_that_loads_and_samples(family: str, fresh: Any, tmp_path: Path) -> None:
    model = tuned(fresh(family))
    model.save(tmp_path, model.denoiser)
    pipeline = pipeline_from(tmp_path, model)
    assert torch.allclose(predicted(model, denoiser_of(pipeline, model)), predicted(model), atol=1e-6)
    assert draw(pipeline).shape == (1, 32, 32, 3)
    again = load_model(str(tmp_path), device="cpu")
    assert again.vae_fingerprint == model.vae_fingerprint
    assert again.text_fingerprint == model.text_fingerprint
    assert torch.allclose(predicted(model, model.load_trained(tmp_path)), predicted(model), atol=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_denoiser_alone_takes_its_place_in_the_base_pipeline(
    family: str, fresh: Any, folders: dict[str, Path], tmp_path: Path
) -> None:
    model = tuned(fresh(family))
    model.save(tmp_path, model.denoiser, SaveConfig(pipeline=False))
    part = model.description.part
    assert sorted(path.name for path in tmp_path.iterdir()) == [part]
    loaded = type(model.denoiser).from_pretrained(tmp_path, subfolder=part)
    base = pipeline_from(folders[family], model)
    drawn = draw(pipeline_from(folders[family], model, **{part: loaded}))
    assert not np.allclose(drawn, draw(base))


@pytest.mark.parametrize("family", FAMILIES)
def test_adapters_are_loaded_by_diffusers_with_their_scale(
    family: str, fresh: Any, folders: dict[str, Path], tmp_path: Path
) -> None:
    model = fresh(family)
    add_adapters(model.denoiser, LoraConfig(rank=2, alpha=7.0, dropout=0.1), seed=0)
    with torch.no_grad():
        for each in model.denoiser.parameters():
            if each.requires_grad:
                each.add_(torch.randn(each.shape, generator=torch.Generator().manual_seed(7)) * 0.1)
    model.save(tmp_path, model.denoiser)
    assert [path.name for path in tmp_path.iterdir()] == ["pytorch_lora_weights.safetensors"]
    pipeline = pipeline_from(folders[family], model)
    pipeline.load_lora_weights(tmp_path)
    assert torch.allclose(predicted(model, denoiser_of(pipeline, model)), predicted(model), atol=1e-6)
    for each in (fresh(family), model):  # on a base without adapters, and on one that is being trained
        assert torch.allclose(predicted(model, each.load_trained(tmp_path)), predicted(model), atol=1e-6)
    frozen = model.load_trained(tmp_path)
    assert not any(each.requires_grad for each in frozen.parameters())


def test_the_whole_of_a_large_model_is_saved_only_where_it_is_asked_for(tmp_path: Path) -> None:
    found = describe(str(write_configs(tmp_path, "sdxl")))
    large = found.part_folder("vae") / "diffusion_pytorch_model.safetensors"
    with large.open("wb") as file:
        file.truncate(335_000_000)
    assert not saves_pipeline(found, SaveConfig())
    assert saves_pipeline(found, SaveConfig(pipeline=True))
    large.unlink()
    assert saves_pipeline(found, SaveConfig())


def test_saved_files_do_not_say_where_they_came_from(fresh: Any, folders: dict[str, Path], tmp_path: Path) -> None:
    model = tuned(fresh("tiny_sdxl"))
    model.save(tmp_path / "out", model.denoiser)
    place = str(folders["tiny_sdxl"].parent)
    texts = [path for path in (tmp_path / "out").rglob("*") if path.suffix in (".json", ".md", ".txt")]
    assert len(texts) > 5
    assert [path for path in texts if place in path.read_text()] == []


@pytest.mark.parametrize(("precision", "dtype"), [("bf16", torch.bfloat16), ("fp16", torch.float16)])
def test_weights_may_be_saved_in_half_and_the_denoiser_keeps_its_own(
    precision: Any, dtype: torch.dtype, fresh: Any, tmp_path: Path
) -> None:
    from safetensors.torch import load_file

    model = tuned(fresh("tiny_sd3"))
    before = predicted(model)
    model.save(tmp_path, model.denoiser, SaveConfig(precision=precision))
    saved = load_file(tmp_path / "transformer" / "diffusion_pytorch_model.safetensors")
    assert {each.dtype for each in saved.values()} == {dtype}
    assert torch.equal(predicted(model), before)
    assert torch.allclose(predicted(model, model.load_trained(tmp_path)), before, atol=0.1)


def test_a_half_precision_variant_is_copied_under_plain_names(tmp_path: Path) -> None:
    folder = save_sd3(tmp_path / "base", t5=True)
    weights = folder / "text_encoder_3" / "model.safetensors"
    weights.rename(weights.with_name("model.fp16.safetensors"))
    model = load_model(str(folder), device="cpu")
    model.save(tmp_path / "out", model.denoiser)
    assert (tmp_path / "out" / "text_encoder_3" / "model.safetensors").is_file()
    assert load_model(str(tmp_path / "out"), device="cpu").fingerprint == model.fingerprint


@pytest.mark.parametrize("family", FAMILIES)
def test_a_denoiser_of_given_weights_does_not_copy_them(family: str, fresh: Any) -> None:
    model = tuned(fresh(family))
    state = model.denoiser.state_dict()
    made = model.with_weights(state)
    assert torch.allclose(predicted(model, made), predicted(model), atol=1e-6)
    name, weight = next(iter(made.named_parameters()))
    assert weight.data_ptr() == state[name].data_ptr()
    with pytest.raises(RuntimeError, match="Missing key"):
        model.with_weights({})


def test_a_folder_without_a_model_is_told(fresh: Any, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no trained unet and no adapter"):
        fresh("tiny_model").load_trained(tmp_path)


def test_what_is_left_out_of_a_pipeline_is_said_in_its_index(fresh: Any, tmp_path: Path) -> None:
    model = fresh("tiny_model")
    index = dict(model.description.index) | {"safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"]}
    object.__setattr__(model.description, "index", index)
    model.save(tmp_path, model.denoiser)
    saved = json.loads((tmp_path / "model_index.json").read_text())
    assert saved["safety_checker"] == [None, None]
    assert saved["requires_safety_checker"] is False
    assert draw(pipeline_from(tmp_path, model)).shape == (1, 32, 32, 3)
