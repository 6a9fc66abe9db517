"""From files to a model: what is missing or damaged is one line, and nothing pickled is opened."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from training.config import parse_config
from training.models.base import DiffusionModel
from training.models.load import load_for, load_model
from training.models.sources import ModelError


def without(path: str) -> Callable[[Path], None]:
    return lambda folder: (folder / path).unlink()


def cut(path: str) -> Callable[[Path], None]:
    return lambda folder: (folder / path).write_bytes((folder / path).read_bytes()[:-200])


def lacking_a_tensor(folder: Path) -> None:
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    state = load_file(path)
    del state["conv_in.weight"]
    save_file(state, path, metadata={"format": "pt"})


def of_another_shape(folder: Path) -> None:
    path = folder / "unet" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"block_out_channels": [8, 16]}))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (without("unet/diffusion_pytorch_model.safetensors"), "the unet of the model .* has no weights"),
        (without("text_encoder/model.safetensors"), "the text_encoder of the model .* has no weights"),
        (cut("vae/diffusion_pytorch_model.safetensors"), "the vae of the model .* cannot be read"),
        (cut("text_encoder/model.safetensors"), "the text_encoder of the model .* cannot be read"),
        (lacking_a_tensor, r"the unet of the model .* lacks weights: conv_in\.weight"),
        (of_another_shape, "the unet of the model .* cannot be read"),
        (cut("tokenizer/tokenizer.json"), "the tokenizer of the model .* cannot be read"),
    ],
    ids=["no-unet", "no-text", "cut-vae", "cut-text", "a-tensor", "another-shape", "cut-tokenizer"],
)
def test_a_damaged_model_is_one_line(
    damage: Callable[[Path], None], said: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(folders["tiny_model"], folder)
    damage(folder)
    with pytest.raises(ModelError, match=said) as refused:
        load_model(str(folder), device="cpu")
    assert "\n" not in str(refused.value)


def test_pickled_weights_are_not_opened(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(folders["tiny_model"], folder)
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(ModelError, match="safetensors are read"):
        load_model(str(folder), device="cpu")


def test_everything_is_frozen_and_what_is_trained_is_float32(folders: dict[str, Path]) -> None:
    model = load_model(str(folders["tiny_sdxl"]), device="cpu", precision="bf16")
    parts = [model.vae, model.denoiser, *model.parts.text_encoders]
    assert not any(each.requires_grad for part in parts for each in part.parameters())
    assert not any(part.training for part in parts)
    assert {each.dtype for each in model.denoiser.parameters()} == {torch.float32}
    assert {text.dtype for text in model.parts.text_encoders} == {torch.bfloat16}
    assert model.vae.dtype == torch.float32


def test_a_runs_config_says_precision_and_noise_levels(folders: dict[str, Path]) -> None:
    config = parse_config({"model": str(folders["tiny_sd3"]), "precision": "bf16", "flow": {"shift": 1.0}})
    model: DiffusionModel = load_for(config, device="cpu")
    assert model.precision == "bf16"
    assert model.times(torch.tensor([0.5], dtype=torch.float64)).tolist() == pytest.approx([0.5])


def test_the_shipped_model_is_loaded_by_its_name() -> None:
    model = load_model("toyworld", device="cpu")
    assert (model.family, model.resolution, model.description.latent_shape()) == ("sd", 64, (4, 8, 8))
