"""Fingerprints change with what numbers depend on, and with nothing else."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import save_sd

from training.models.base import DiffusionModel
from training.models.load import load_model


def config(part: str, name: str = "config.json", **values: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / part / name
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    return change


def weight(part: str, name: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / part / name
        state = load_file(path)
        first = sorted(state)[0]
        state[first] = state[first].clone()
        state[first].view(-1)[0] += 1e-3
        save_file(state, path, metadata={"format": "pt"})

    return change


def token(folder: Path) -> None:
    path = folder / "tokenizer" / "tokenizer.json"
    path.write_text(path.read_text().replace('"a</w>"', '"ä</w>"'))


DENOISER, VAE, TEXT = "fingerprint", "vae_fingerprint", "text_fingerprint"
DIFFUSERS, TRANSFORMERS = "diffusion_pytorch_model.safetensors", "model.safetensors"


@pytest.mark.parametrize(
    ("change", "changed"),
    [
        (weight("unet", DIFFUSERS), {DENOISER}),
        (config("unet", norm_eps=1e-4), {DENOISER}),
        (config("scheduler", "scheduler_config.json", prediction_type="v_prediction"), {DENOISER}),
        (config("scheduler", "scheduler_config.json", beta_end=0.02), {DENOISER}),
        (weight("vae", DIFFUSERS), {DENOISER, VAE}),
        (config("vae", scaling_factor=0.5), {DENOISER, VAE}),
        (weight("text_encoder", TRANSFORMERS), {DENOISER, TEXT}),
        (config("text_encoder", hidden_act="gelu"), {DENOISER, TEXT}),
        (token, {DENOISER, TEXT}),
        (config("vae", _diffusers_version="9.9", sample_size=512), set()),
        (config("unet", _name_or_path="elsewhere"), set()),
        (config("text_encoder", transformers_version="9.9", architectures=["Other"]), set()),
        (lambda folder: None, set()),
    ],
    ids=[
        "denoiser-weight",
        "denoiser-config",
        "prediction-type",
        "betas",
        "vae-weight",
        "scaling-factor",
        "text-weight",
        "text-config",
        "token",
        "vae-notes",
        "place",
        "text-notes",
        "nothing",
    ],
)
def test_a_fingerprint_changes_with_what_it_names(
    change: Callable[[Path], None],
    changed: set[str],
    folders: dict[str, Path],
    loaded: dict[str, DiffusionModel],
    tmp_path: Path,
) -> None:
    shutil.copytree(folders["tiny_model"], tmp_path / "copy")
    change(tmp_path / "copy")
    before, after = loaded["tiny_model"], load_model(str(tmp_path / "copy"), device="cpu")
    names = (DENOISER, VAE, TEXT)
    assert {name for name in names if getattr(before, name) != getattr(after, name)} == changed


def test_the_precision_of_predictions_is_part_of_a_models_fingerprint(
    folders: dict[str, Path], loaded: dict[str, DiffusionModel]
) -> None:
    half = load_model(str(folders["tiny_model"]), device="cpu", precision="bf16")
    assert half.fingerprint != loaded["tiny_model"].fingerprint
    assert half.vae_fingerprint == loaded["tiny_model"].vae_fingerprint  # its VAE stays in float32


def test_training_leaves_the_fingerprint_of_the_base(fresh: Any) -> None:
    model = fresh("tiny_model")
    before = model.fingerprint
    with torch.no_grad():
        next(model.denoiser.parameters()).add_(1)
    assert model.fingerprint == before


def test_a_prompt_that_was_encoded_does_not_change_the_tokenizers_hash(tmp_path: Path) -> None:
    folder = save_sd(tmp_path)
    first = load_model(str(folder), device="cpu")
    first.encode_prompts(["a red star"])
    assert load_model(str(folder), device="cpu").text_fingerprint == first.text_fingerprint
