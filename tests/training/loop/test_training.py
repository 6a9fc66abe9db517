"""Steps of a training on a model of a few thousand weights."""

import copy
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from made_pairs import made_pairs
from torch import Tensor, nn

from ranking.errors import PairsieveError
from training.config import TrainConfig
from training.loop.training import MOST_SKIPPED, Training
from training.models.base import DiffusionModel
from training.models.load import load_model
from training.watch.meter import Step

Fresh = Callable[[], DiffusionModel]
Configured = Callable[..., TrainConfig]


def training(model: DiffusionModel, config: TrainConfig, **more: Any) -> Training:
    return Training(model, made_pairs(model, config, **more), config)


def steps(run: Training, count: int | None = None) -> list[Step]:
    return [run.advance() for _ in range(count or run.config.steps)]


def weights(module: nn.Module) -> dict[str, Tensor]:
    return {name: each.detach().clone() for name, each in module.named_parameters()}


def moved(before: dict[str, Tensor], module: nn.Module) -> list[str]:
    return [name for name, each in module.named_parameters() if not torch.equal(each, before[name])]


def test_full_fine_tuning_moves_every_weight_and_never_the_reference(fresh: Fresh, config_of: Configured) -> None:
    model = fresh()
    before = weights(model.denoiser)
    run = training(model, config_of())
    steps(run)
    assert moved(before, run.denoiser) == list(before)
    with run.reference() as reference:
        assert moved(before, reference) == []
        assert all(each.grad is None for each in reference.parameters())


@pytest.mark.parametrize("family", ["tiny_model", "tiny_sd_v", "tiny_sdxl", "tiny_sd3"])
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_policy_and_reference_are_equal_at_the_start_in_each_precision(
    family: str, precision: str, config_of: Configured, request: pytest.FixtureRequest
) -> None:
    """training.md §6b: a half-precision reference beside a float32 policy gives logits of 0.3 to 1.9 at β 5000."""
    model = load_model(str(request.getfixturevalue(family)), device="cpu")
    config = config_of(precision=precision, method={"beta": 5000})
    first = training(model, config).advance()
    # Labels are not 1, but at a logit of 0 the loss of every label is ln 2; weights average to 0.7 in this step.
    assert (first.logit, first.logit_spread, first.winner_change, first.loser_change) == (0, 0, 0, 0)
    assert first.implicit_accuracy == 0.5
    weight = sum(float(each) for each in made_pairs(model, config).weight[_pairs(config, model)]) / 4
    assert first.loss == pytest.approx(math.log(2) * weight, rel=1e-6)


def _pairs(config: TrainConfig, model: DiffusionModel) -> list[int]:
    order = made_pairs(model, config).order(size=config.batch)
    return [visit.pair for visit in order.at(0)]


def test_in_half_precision_trained_weights_are_float32_and_the_reference_takes_half_the_memory(
    fresh: Fresh, config_of: Configured
) -> None:
    run = training(fresh(), config_of(precision="bf16"))
    assert {each.dtype for each in run.denoiser.parameters()} == {torch.float32}
    with run.reference() as reference:
        kept = sum(each.nbytes for each in reference.parameters())
    assert kept < 0.55 * sum(each.nbytes for each in run.denoiser.parameters())
    assert steps(run, 2)[1].logit != 0


def test_sft_passes_winners_only_and_keeps_no_reference(fresh: Fresh, config_of: Configured) -> None:
    model = fresh()
    sizes: list[int] = []
    model.denoiser.register_forward_hook(lambda module, args, output: sizes.append(len(args[0])))
    run = training(model, config_of(method="sft"))
    (step,) = steps(run, 1)
    assert sizes == [4]
    assert math.isfinite(step.winner_error) and math.isnan(step.loser_error)
    with pytest.raises(ValueError, match="no reference"), run.reference():
        pass


def test_cached_reference_errors_train_the_same_without_a_reference(fresh: Fresh, config_of: Configured) -> None:
    config = config_of(cache={"reference_draws": 2}, steps=8)
    model, frozen = fresh(), fresh()
    uncached = made_pairs(frozen, config)

    def errors(pair_ids: Any, numbers: Any) -> Tensor:
        from training.data.order import Visit
        from training.losses.errors import denoising_error

        visits = [Visit(int(pair[1:]), number) for pair, number in zip(pair_ids, numbers, strict=True)]
        batch = uncached.batch(visits)
        noisy = frozen.noised(batch.latents, batch.noise, batch.times)
        with torch.no_grad():
            said = frozen.predict(frozen.denoiser, noisy, batch.times, batch.conditioning, batch.geometry)
        return denoising_error(said, frozen.target(batch.latents, batch.noise, batch.times))

    cached = Training(model, made_pairs(model, config, references=errors), config)
    with pytest.raises(ValueError, match="no reference"), cached.reference():
        pass
    # Without K fixed draws visits differ from the third epoch on, which begins at step 8 of 16 pairs.
    for one, other in zip(steps(cached), steps(training(fresh(), config_of(steps=8))), strict=True):
        # All but the distance of predictions, which nobody keeps.
        assert one.loss == pytest.approx(other.loss, abs=1e-6)
        assert (one.logit, one.gradient_norm) == pytest.approx((other.logit, other.gradient_norm), rel=1e-4, abs=1e-6)


def test_a_resumed_training_goes_on_bit_for_bit(fresh: Fresh, config_of: Configured, tmp_path: Path) -> None:
    config = config_of(ema={"decay": 0.9, "every": 2}, schedule="cosine", steps=6, warmup=2)
    through = training(fresh(), config)
    whole = steps(through)
    first = training(fresh(), config)
    begun = steps(first, 3)
    first.save(tmp_path / "state")
    second = training(fresh(), config)
    second.load(tmp_path / "state")
    assert second.step == 3
    assert begun + steps(second, 3) == whole
    for mine, theirs in zip(second.denoiser.parameters(), through.denoiser.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    assert {path.suffix for path in (tmp_path / "state").iterdir()} == {".safetensors", ".json"}


@pytest.mark.parametrize("optimiser", ["adamw", "adamw-8bit", "adafactor"])
def test_each_optimiser_goes_on_bit_for_bit(
    optimiser: str, fresh: Fresh, config_of: Configured, tmp_path: Path
) -> None:
    config = config_of(optimiser=optimiser, steps=4)
    through = training(fresh(), config)
    whole = steps(through)
    first = training(fresh(), config)
    steps(first, 2)
    first.save(tmp_path)
    second = training(fresh(), config)
    second.load(tmp_path)
    assert steps(second, 2) == whole[2:]
    for mine, theirs in zip(second.denoiser.parameters(), through.denoiser.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_a_resume_does_not_move_the_reference_onto_the_trained_weights(
    fresh: Fresh, config_of: Configured, tmp_path: Path
) -> None:
    """A bug on OneTrainer's list (training.md §6): its reference was taken after the checkpoint was loaded."""
    before = weights(fresh().denoiser)
    run = training(fresh(), config_of())
    steps(run)
    run.save(tmp_path)
    resumed = training(fresh(), config_of())
    resumed.load(tmp_path)
    with resumed.reference() as reference:
        assert moved(before, reference) == []
    assert resumed.advance().logit != 0


def test_a_state_of_another_config_is_refused_before_anything_changes(
    fresh: Fresh, config_of: Configured, tmp_path: Path
) -> None:
    averaged = training(fresh(), config_of(ema={}))
    steps(averaged, 1)
    averaged.save(tmp_path)
    with pytest.raises(PairsieveError, match="another model or config"):
        training(fresh(), config_of()).load(tmp_path)
    damaged = tmp_path / "state-00001-of-00001.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-100])
    with pytest.raises(PairsieveError, match="cannot be read"):
        training(fresh(), config_of(ema={})).load(tmp_path)


def test_the_average_is_what_is_saved_and_follows_the_weights(fresh: Fresh, config_of: Configured) -> None:
    model = fresh()
    before = weights(model.denoiser)
    run = training(model, config_of(ema={"decay": 0.75, "warmup": False, "every": 2}))
    steps(run, 1)
    assert moved(before, run.denoiser) == []
    steps(run, 1)
    for name, each in run.denoiser.named_parameters():
        expected = 0.75 * before[name] + 0.25 * model.denoiser.get_parameter(name)
        assert torch.allclose(each, expected, atol=1e-7)


def test_not_a_number_stops_before_the_weights_are_touched(fresh: Fresh, config_of: Configured) -> None:
    model = fresh()
    run = training(model, config_of())
    steps(run, 1)
    before = weights(model.denoiser)
    run.material.weight[:] = math.nan
    with pytest.raises(PairsieveError, match="lower learning_rate or beta"):
        run.advance()
    assert moved(before, model.denoiser) == []
    assert run.step == 1


def test_fp16_skips_steps_that_overflow_and_gives_up_after_many(fresh: Fresh, config_of: Configured) -> None:
    model = fresh()
    run = training(model, config_of(precision="fp16"))
    before = weights(model.denoiser)
    weight = run.material.weight.clone()
    run.material.weight[:] = math.inf
    skipped = [run.advance() for _ in range(3)]
    assert all(step.skipped for step in skipped)
    assert moved(before, model.denoiser) == []
    run.material.weight[:] = weight
    while run.advance().skipped:  # gradients at this β overflow themselves until the scale is small enough
        assert moved(before, model.denoiser) == []
    assert moved(before, model.denoiser)
    run.material.weight[:] = math.inf
    with pytest.raises(PairsieveError, match="bf16"):
        steps(run, MOST_SKIPPED)


def test_fp16s_scale_is_part_of_the_state(fresh: Fresh, config_of: Configured, tmp_path: Path) -> None:
    run = training(fresh(), config_of(precision="fp16"))
    run.material.weight[:] = math.inf
    steps(run, 2)
    run.save(tmp_path)
    assert json.loads((tmp_path / "state.json").read_text())["numbers"]["scaler"]["scale"] == 65536 / 4
    resumed = training(fresh(), config_of(precision="fp16"))
    resumed.load(tmp_path)
    resumed.save(tmp_path / "again")
    assert (tmp_path / "again" / "state.json").read_text() == (tmp_path / "state.json").read_text()


@pytest.mark.parametrize(("optimiser", "clipped"), [("adamw", True), ("adafactor", False)])
def test_adafactor_clips_its_updates_and_nothing_clips_its_gradients(
    optimiser: str, clipped: bool, fresh: Fresh, config_of: Configured
) -> None:
    """training.md §6e: the public script clips both, unless two of its options are given together."""
    model = fresh()
    run = training(model, config_of(optimiser=optimiser, max_grad_norm=0.5))
    stepped: list[float] = []

    def note(*_: Any) -> None:
        stepped.append(float(torch.nn.utils.get_total_norm([each.grad for each in model.denoiser.parameters()])))

    run._optimiser.register_step_pre_hook(note)
    (step,) = steps(run, 1)
    assert step.gradient_norm > 1
    assert stepped == pytest.approx([0.5 if clipped else step.gradient_norm], rel=1e-4)


def test_gradient_checkpointing_changes_no_step(fresh: Fresh, config_of: Configured) -> None:
    plain = steps(training(fresh(), config_of()), 2)
    assert steps(training(fresh(), config_of(gradient_checkpointing=True)), 2) == plain


def test_the_rest_of_the_process_keeps_its_denormal_numbers(fresh: Fresh, config_of: Configured) -> None:
    tiny = torch.tensor(1e-40)
    steps(training(fresh(), config_of()), 1)
    assert float(tiny * 0.5) > 0


def test_a_lora_moves_its_adapters_alone_and_its_reference_is_the_model_without_them(
    fresh: Fresh, config_of: Configured
) -> None:
    """training.md §9.8: adapters off ≡ a reference of its own."""
    model, apart = fresh(), fresh()
    before = weights(apart.denoiser)
    run = training(model, config_of(lora={"rank": 2}, ema={"warmup": False}, gradient_checkpointing=True))
    first, *_ = steps(run)
    assert first.logit == 0
    changed = {name for name, each in model.denoiser.named_parameters() if each.requires_grad}
    assert changed and all("lora_" in name for name in changed)
    base = {name.replace(".base_layer", ""): each for name, each in model.denoiser.named_parameters()}
    assert all(torch.equal(base[name], each) for name, each in before.items())
    batch = run.material.batch(run.material.order(size=4).at(0))
    with torch.no_grad(), run.reference() as reference:
        said = model.predict(reference, batch.latents, batch.times, batch.conditioning, batch.geometry)
        alone = apart.predict(apart.denoiser, batch.latents, batch.times, batch.conditioning, batch.geometry)
        assert torch.equal(said, alone)
    with torch.no_grad():
        tuned = model.predict(model.denoiser, batch.latents, batch.times, batch.conditioning, batch.geometry)
        averaged = model.predict(run.denoiser, batch.latents, batch.times, batch.conditioning, batch.geometry)
    assert not torch.equal(tuned, alone) and not torch.equal(averaged, tuned) and not torch.equal(averaged, alone)


def test_a_lora_with_dropout_drops_the_same_after_a_resume(fresh: Fresh, config_of: Configured, tmp_path: Path) -> None:
    config = config_of(lora={"rank": 2, "dropout": 0.5}, steps=4)
    torch.manual_seed(1)
    whole = steps(training(fresh(), config))
    torch.manual_seed(2)
    first = training(fresh(), config)
    steps(first, 2)
    first.save(tmp_path)
    second = training(fresh(), config)
    second.load(tmp_path)
    assert steps(second, 2) == whole[2:]
    assert steps(training(fresh(), config_of(lora={"rank": 2}, steps=4))) != whole


def test_a_copy_of_the_model_is_left_alone(fresh: Fresh, config_of: Configured) -> None:
    model = fresh()
    other = copy.deepcopy(model.denoiser)
    steps(training(model, config_of()), 1)
    assert all(each.grad is None for each in other.parameters())
