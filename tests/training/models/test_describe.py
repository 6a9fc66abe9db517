"""What a model is, told from config files alone, and what is refused before any weight is read."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.full_size import write_configs
from training.blocks import LoraConfig
from training.models.base import DiffusionModel
from training.models.describe import describe, meta_denoiser
from training.models.lora import adapter_weights
from training.models.sources import ModelError


@pytest.mark.parametrize(
    ("model", "denoiser", "text", "resolution", "latents", "conditioning"),
    [
        ("sd15", 859_520_964, 123_060_480, 512, (4, 64, 64), {"states": (77, 768)}),
        ("sd21", 865_910_724, 340_387_840, 768, (4, 96, 96), {"states": (77, 1024)}),
        ("sdxl", 2_567_463_684, 817_720_320, 1024, (4, 128, 128), {"states": (77, 2048), "pooled": (1280,)}),
        (
            "sd3",
            2_028_328_000,
            5_580_620_800,
            1024,
            (16, 128, 128),
            {"states": (77, 2048), "pooled": (2048,), "t5": (256, 4096)},
        ),
    ],
    ids=["sd15", "sd21", "sdxl", "sd3"],
)
def test_full_size_models_are_described_without_their_weights(
    model: str,
    denoiser: int,
    text: int,
    resolution: int,
    latents: tuple[int, ...],
    conditioning: dict[str, Any],
    tmp_path: Path,
) -> None:
    """The UNets of SD 1.5 and SDXL have 859.5 M and 2567.5 M weights (training.md §7), SD3 medium's transformer 2 B."""
    found = describe(str(write_configs(tmp_path, model)))
    assert (found.parameters["denoiser"], found.parameters["text"]) == (denoiser, text)
    assert (found.resolution, found.latent_shape(), dict(found.conditioning)) == (resolution, latents, conditioning)


def test_a_description_is_what_is_loaded(loaded: dict[str, DiffusionModel]) -> None:
    for model in loaded.values():
        found = model.description
        assert found.parameters == {
            "denoiser": sum(each.numel() for each in model.denoiser.parameters()),
            "vae": sum(each.numel() for each in model.vae.parameters()),
            "text": sum(each.numel() for text in model.parts.text_encoders if text for each in text.parameters()),
        }
        told = model.encode_prompts(["a red star"])
        assert {name: tuple(each.shape[1:]) for name, each in told.tensors.items()} == found.conditioning


def test_adapters_are_counted_by_rank_times_in_plus_out(tmp_path: Path) -> None:
    found = describe(str(write_configs(tmp_path, "sd15")))
    denoiser = meta_denoiser(found.family, found.configs["unet"])
    # Sixteen blocks with two attentions, of widths 320 (5 blocks), 640 (5) and 1280 (6), text of width 768: queries,
    # outputs and self-attention's keys and values have 2·width in and out, cross-attention's keys and values
    # width + 768.
    blocks = {320: 5, 640: 5, 1280: 6}
    by_hand = sum(count * (6 * 2 * width + 2 * (width + 768)) for width, count in blocks.items())
    assert adapter_weights(denoiser, LoraConfig(rank=8)) == 8 * by_hand


@pytest.mark.parametrize(
    ("model", "changes", "said"),
    [
        ("sd15", {"unet": {"in_channels": 9}}, "takes 9 channels and gives 4, its VAE has 4"),
        ("sd15", {"text_encoder": {"hidden_size": 1024}}, "text states of width 768, its text encoders give 1024"),
        ("sdxl", {"unet": {"projection_class_embeddings_input_dim": 2560}}, "pooled text states of width 1024"),
        ("sd3", {"vae": {"latent_channels": 4}}, "takes 16 channels and gives 16, its VAE has 4"),
        ("sd3", {"text_encoder_3": {"d_model": 2048}}, "the states of its T5 of width 4096"),
        ("sd15", {"scheduler": {"prediction_type": "sample"}}, "predicts 'sample'"),
        ("sdxl", {"scheduler": {"_class_name": "EDMEulerScheduler", "beta_schedule": None}}, "no betas to train with"),
        ("sd15", {"unet": {"_class_name": "UNet3DConditionModel"}}, "a StableDiffusionPipeline, which cannot be"),
    ],
)
def test_parts_that_do_not_fit_are_one_line(
    model: str, changes: dict[str, dict[str, Any]], said: str, tmp_path: Path
) -> None:
    folder = write_configs(tmp_path / "model", model, **changes)
    if changes.get("scheduler", {}).get("beta_schedule", "") is None:
        path = folder / "scheduler" / "scheduler_config.json"
        path.write_text(json.dumps({"_class_name": "EDMEulerScheduler", "sigma_data": 0.5}))
    with pytest.raises(ModelError, match=said) as refused:
        describe(str(folder))
    assert "\n" not in str(refused.value)


def test_sdxls_refiner_is_no_model_to_train(tmp_path: Path) -> None:
    unet = {"cross_attention_dim": 1280, "projection_class_embeddings_input_dim": 2560}
    folder = write_configs(tmp_path, "sdxl", unet=unet)
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | {"text_encoder": [None, None]}))
    with pytest.raises(ModelError, match="has no text_encoder"):
        describe(str(folder))


def test_a_missing_or_broken_config_is_named(tmp_path: Path) -> None:
    folder = write_configs(tmp_path / "a", "sd15")
    (folder / "vae" / "config.json").unlink()
    with pytest.raises(ModelError, match=r"has no vae/config\.json"):
        describe(str(folder))
    (folder / "vae" / "config.json").write_text("{")
    with pytest.raises(ModelError, match=r"vae/config\.json .* is not JSON"):
        describe(str(folder))
    (folder / "vae" / "config.json").write_text(json.dumps({"latent_channels": 4}))
    with pytest.raises(ModelError, match="lacks 'block_out_channels'"):
        describe(str(folder))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match=r"has no model_index\.json"):
        describe(str(tmp_path / "empty"))
