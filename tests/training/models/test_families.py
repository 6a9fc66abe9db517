"""What each family tells its denoiser, at which times it trains, and what is to be predicted."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_inputs import inputs, predicted
from tiny_models import save_sd
from torch import Tensor

from training.blocks import FlowConfig
from training.models.base import DiffusionModel
from training.models.load import load_model
from training.models.sd3 import StableDiffusion3

DISCRETE = ("tiny_model", "tiny_sd_v", "tiny_sdxl")


def signal(times: Tensor) -> Tensor:
    """ᾱ of Stable Diffusion's schedule at these timesteps: β's roots rise evenly from √0.00085 to √0.012."""
    steps = torch.arange(1000, dtype=torch.float64) / 999
    betas = (math.sqrt(0.00085) + (math.sqrt(0.012) - math.sqrt(0.00085)) * steps) ** 2
    return torch.cumprod(1 - betas, 0)[times].float().view(-1, 1, 1, 1)


@pytest.mark.parametrize("family", DISCRETE)
def test_noise_is_added_by_the_models_own_betas(family: str, loaded: dict[str, DiffusionModel]) -> None:
    model = loaded[family]
    latents, noise = torch.randn(2, 3, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    times = torch.tensor([0, 431, 999])
    by_hand = signal(times).sqrt() * latents + (1 - signal(times)).sqrt() * noise
    assert torch.allclose(model.noised(latents, noise, times), by_hand, atol=1e-5)


@pytest.mark.parametrize("kind", ["PNDMScheduler", "EulerDiscreteScheduler", "DPMSolverMultistepScheduler"])
def test_the_class_of_the_scheduler_that_a_folder_names_does_not_matter(
    kind: str, loaded: dict[str, DiffusionModel], tmp_path: Path
) -> None:
    import diffusers

    betas = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    scheduler = getattr(diffusers, kind)(**betas, prediction_type="v_prediction")
    model, other = load_model(str(save_sd(tmp_path, scheduler=scheduler)), device="cpu"), loaded["tiny_sd_v"]
    latents, noise = torch.randn(2, 3, 4, 16, 16)
    times = torch.tensor([0, 431, 999])
    assert torch.equal(model.noised(latents, noise, times), other.noised(latents, noise, times))
    assert torch.equal(model.target(latents, noise, times), other.target(latents, noise, times))


def test_models_that_predict_velocity_are_trained_where_public_scripts_refuse_them(
    loaded: dict[str, DiffusionModel],
) -> None:
    """DiffusionDPO's train.py:1105 asserts epsilon. v = √ᾱ·ε − √(1−ᾱ)·x₀ (Salimans and Ho 2022, appendix D)."""
    latents, noise = torch.randn(2, 3, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    times = torch.tensor([0, 431, 999])
    velocity = signal(times).sqrt() * noise - (1 - signal(times)).sqrt() * latents
    assert torch.allclose(loaded["tiny_sd_v"].target(latents, noise, times), velocity, atol=1e-5)
    assert torch.equal(loaded["tiny_model"].target(latents, noise, times), noise)


@pytest.mark.parametrize("family", DISCRETE)
def test_every_timestep_is_as_likely_as_another(family: str, loaded: dict[str, DiffusionModel]) -> None:
    evenly = (torch.arange(5000, dtype=torch.float64) + 0.5) / 5000
    assert torch.bincount(loaded[family].times(evenly)).tolist() == [5] * 1000
    ends = loaded[family].times(torch.tensor([0.0, 1 - 2**-53], dtype=torch.float64))
    assert ends.tolist() == [0, 999]


def test_onetrainer_1403_a_schedule_need_not_have_a_thousand_timesteps(tmp_path: Path) -> None:
    from diffusers import DDPMScheduler

    betas = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    model = load_model(str(save_sd(tmp_path, scheduler=DDPMScheduler(num_train_timesteps=40, **betas))), device="cpu")
    evenly = (torch.arange(200, dtype=torch.float64) + 0.5) / 200
    assert torch.bincount(model.times(evenly)).tolist() == [5] * 40


def flow(model: DiffusionModel, **options: Any) -> StableDiffusion3:
    made = StableDiffusion3(model.description, model.parts, device=model.device, flow=FlowConfig(**options))
    return made


def test_a_flow_is_straight_and_its_target_is_the_way_from_picture_to_noise(loaded: dict[str, DiffusionModel]) -> None:
    model = loaded["tiny_sd3"]
    latents, noise = torch.randn(2, 2, 16, 16, 16)
    times = torch.tensor([0.25, 0.9])
    noisy = model.noised(latents, noise, times)
    assert torch.allclose(noisy[0], 0.75 * latents[0] + 0.25 * noise[0], atol=1e-6)
    assert torch.allclose(noisy[1], 0.1 * latents[1] + 0.9 * noise[1], atol=1e-6)
    assert torch.equal(model.target(latents, noise, times), noise - latents)


def test_noise_levels_of_a_flow_are_the_quantiles_of_the_logit_normal(loaded: dict[str, DiffusionModel]) -> None:
    places = torch.tensor([0.0, 0.5, 0.8413447460685429, 1 - 2**-53], dtype=torch.float64)
    plain = flow(loaded["tiny_sd3"], shift=1.0).times(places)
    # The median is σ(0), one deviation above it σ(1) = 1/(1+e⁻¹).
    assert plain[1:3].tolist() == pytest.approx([0.5, 1 / (1 + math.exp(-1))], abs=1e-6)
    assert 0 < plain[0] < plain[1]
    assert plain[2] < plain[3] < 1
    moved = flow(loaded["tiny_sd3"], shift=1.0, mean=-1.0, deviation=2.0).times(places)
    assert moved[1:3].tolist() == pytest.approx([1 / (1 + math.e), 1 / (1 + math.exp(-1))], abs=1e-6)
    assert flow(loaded["tiny_sd3"], shift=1.0, density="uniform").times(places)[1:3].tolist() == pytest.approx(
        [0.5, 0.8413447], abs=1e-6
    )


def test_the_models_own_shift_moves_noise_levels_up(loaded: dict[str, DiffusionModel]) -> None:
    """SD3's 3: ½ becomes 3·½ / (1 + 2·½) = ¾."""
    half = torch.tensor([0.5], dtype=torch.float64)
    assert loaded["tiny_sd3"].times(half).tolist() == pytest.approx([0.75])
    assert flow(loaded["tiny_sd3"], shift=2.0).times(half).tolist() == pytest.approx([2 / 3])


def test_a_flow_tells_its_transformer_a_thousand_times_the_noise_level(loaded: dict[str, DiffusionModel]) -> None:
    model = loaded["tiny_sd3"]
    seen: list[Tensor] = []
    handle = model.denoiser.time_text_embed.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    try:
        predicted(model)
    finally:
        handle.remove()
    assert torch.equal(seen[0], inputs(model)[1] * 1000)


def test_sdxl_is_told_the_true_size_and_crop_of_each_picture_and_not_the_resolution(
    loaded: dict[str, DiffusionModel],
) -> None:
    """DiffusionDPO's train.py:1078 tells every picture that it is whole and of the training's resolution."""
    model = loaded["tiny_sdxl"]
    seen: list[Tensor] = []
    handle = model.denoiser.add_time_proj.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    try:
        both = predicted(model)
    finally:
        handle.remove()
    assert seen[0].tolist() == [64, 48, 3, 0, 32, 32, 512, 512, 0, 8, 32, 32]
    noisy, times, conditioning, _ = inputs(model)
    fixed = model.predict(model.denoiser, noisy, times, conditioning, torch.tensor([[32, 32, 0, 0, 32, 32]] * 2))
    assert not torch.allclose(both, fixed)


def test_the_size_of_one_picture_says_nothing_of_the_next_in_a_batch(loaded: dict[str, DiffusionModel]) -> None:
    """OneTrainer's request 1403 had time ids of the wrong batch size."""
    model = loaded["tiny_sdxl"]
    noisy, times, conditioning, geometry = inputs(model)
    alone = [
        model.predict(model.denoiser, noisy[i : i + 1], times[i : i + 1], conditioning[i : i + 1], geometry[i : i + 1])
        for i in range(2)
    ]
    assert torch.allclose(torch.cat(alone), predicted(model), atol=1e-6)


def test_sdxl_takes_the_last_but_one_states_of_both_encoders_and_the_second_ones_pooled(
    loaded: dict[str, DiffusionModel],
) -> None:
    model = loaded["tiny_sdxl"]
    found = model.encode_prompts(["a red star"])
    (first, second), tokenizers = model.parts.text_encoders, model.parts.tokenizers
    ids = [each(["a red star"], padding="max_length", return_tensors="pt").input_ids for each in tokenizers]
    with torch.no_grad():
        one, two = first(ids[0], output_hidden_states=True), second(ids[1], output_hidden_states=True)
    assert torch.equal(found.tensors["states"], torch.cat([one.hidden_states[-2], two.hidden_states[-2]], -1))
    assert torch.equal(found.tensors["pooled"], two.text_embeds)


def test_an_encoder_that_ends_before_its_last_layer_gives_normalised_last_but_one_states(tmp_path: Path) -> None:
    """SD 2.x: diffusers keeps 23 of ViT-H's 24 layers, and the norm that followed the last one follows them."""
    import json

    whole = load_model(str(save_sd(tmp_path / "whole")), device="cpu").parts
    encoder, tokenizer = whole.text_encoders[0], whole.tokenizers[0]
    folder = save_sd(tmp_path / "cut")
    config = folder / "text_encoder" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"num_hidden_layers": 1}))
    ids = tokenizer(["a red star"], padding="max_length", return_tensors="pt").input_ids
    with torch.no_grad():
        states = encoder(ids, output_hidden_states=True).hidden_states[-2]
        wanted = dict(encoder.named_modules())[_final_norm(encoder)](states)
    found = load_model(str(folder), device="cpu").encode_prompts(["a red star"])
    assert torch.allclose(found.tensors["states"], wanted, atol=1e-6)


def _final_norm(encoder: Any) -> str:
    return next(name for name, _ in encoder.named_modules() if name.endswith("final_layer_norm"))


def test_prompts_are_encoded_where_the_model_is(loaded: dict[str, DiffusionModel]) -> None:
    """DiffusionDPO's encode_prompt moves its tokens to "cuda", whatever the device."""
    for model in loaded.values():
        told = model.encode_prompts(["a red star", "word " * 200])
        assert {each.device for each in told.tensors.values()} == {model.device}
        assert {len(each) for each in told.tensors.values()} == {2}


def test_what_stands_for_no_prompt_is_encoded_or_zeros_and_by_itself_what_is_sampled_with(
    loaded: dict[str, DiffusionModel],
) -> None:
    """Every public trainer encodes "" for SDXL, whose pipeline samples with zeros."""
    for name, model in loaded.items():
        encoded, zeros = model.no_prompt("encoded"), model.no_prompt("zeros")
        assert not any(bool(each.any()) for each in zeros.tensors.values())
        assert all(bool(each.any()) for each in encoded.tensors.values())
        assert len(zeros) == len(encoded) == 1
        chosen = zeros if name == "tiny_sdxl" else encoded
        assert all(torch.equal(each, chosen.tensors[key]) for key, each in model.no_prompt().tensors.items())
