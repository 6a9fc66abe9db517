"""From pixels to latents and back: shift, scale, precision, and latents that are no numbers."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.full_size import write_configs
from ranking.errors import PairsieveError
from training.models.base import DiffusionModel
from training.models.describe import describe
from training.models.load import load_model, vae_dtype


def pixels(model: DiffusionModel) -> torch.Tensor:
    return torch.rand(2, 3, model.resolution, model.resolution, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_latents_are_the_posteriors_mode_shifted_and_scaled(loaded: dict[str, DiffusionModel]) -> None:
    for name, model in loaded.items():
        with torch.no_grad():
            mode = model.vae.encode(pixels(model)).latent_dist.mode()
        shift, scale = {"tiny_sd3": (0.0609, 1.5305), "tiny_sdxl": (0.0, 0.13025)}.get(name, (0.0, 0.18215))
        assert torch.allclose(model.encode_pixels(pixels(model)), (mode - shift) * scale, atol=1e-6)


def test_decoding_takes_back_what_encoding_did_to_latents(loaded: dict[str, DiffusionModel]) -> None:
    for model in loaded.values():
        with torch.no_grad():
            mode = model.vae.encode(pixels(model)).latent_dist.mode()
            wanted = (model.vae.decode(mode).sample / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).numpy()
        found = model.decode_latents(model.encode_pixels(pixels(model)))
        assert np.abs(found / 255 - wanted).max() <= 0.5001 / 255


def test_latents_that_are_no_numbers_are_an_error_with_the_way_out(fresh: Any) -> None:
    """SDXL's own VAE leaves the range of float16 and gives NaN, which public scripts train on."""
    model = fresh("tiny_sdxl")
    with torch.no_grad():
        model.vae.quant_conv.weight.fill_(torch.inf)
    with pytest.raises(PairsieveError, match="no numbers") as error:
        model.encode_pixels(pixels(model))
    assert "vae:" in error.value.hint


def test_only_a_vae_that_stands_float16_is_put_into_it(tmp_path: Path) -> None:
    xl, fixed = (
        describe(str(write_configs(tmp_path / name, "sdxl", vae={"force_upcast": upcast})))
        for name, upcast in (("xl", True), ("fixed", False))
    )
    sd = describe(str(write_configs(tmp_path / "sd", "sd15")))
    assert [vae_dtype(each, "fp16") for each in (xl, fixed, sd)] == [torch.float32, torch.float16, torch.float16]
    assert {vae_dtype(each, precision) for each in (xl, fixed, sd) for precision in ("fp32", "bf16")} == {torch.float32}


def test_another_vae_may_stand_in(folders: dict[str, Path], tmp_path: Path) -> None:
    import shutil

    shutil.copytree(folders["tiny_sd_v"] / "vae", tmp_path / "other-vae")
    plain = load_model(str(folders["tiny_sdxl"]), device="cpu")
    for other in (tmp_path / "other-vae", folders["tiny_sd_v"]):
        model = load_model(str(folders["tiny_sdxl"]), device="cpu", vae=str(other))
        assert model.vae.config.scaling_factor == 0.18215
        assert model.vae_fingerprint != plain.vae_fingerprint
        assert model.text_fingerprint == plain.text_fingerprint


def test_parts_that_were_set_aside_come_back_when_they_are_needed(loaded: dict[str, DiffusionModel]) -> None:
    for model in loaded.values():
        before = model.encode_prompts(["a red star"]), model.encode_pixels(pixels(model))
        model.set_aside()
        assert torch.equal(model.encode_pixels(pixels(model)), before[1])
        assert torch.equal(model.encode_prompts(["a red star"]).tensors["states"], before[0].tensors["states"])
