"""Training from caches is training without them, number by number; what is stored is not what was dropped."""

from pathlib import Path
from typing import Any

import pytest
import torch
from cached_runs import config_of, counting, material_of

from ranking.errors import PairsieveError
from ranking.store.blobs import Store
from ranking.subsets.catalog import Subset
from training.config import TrainConfig
from training.data import encoding
from training.data.batch import PairBatch
from training.data.order import Visit
from training.loop.training import Training
from training.models.load import load_model

UNCACHED = {"latents": False, "prompts": False}
DATA = {"flip": True, "prompt_dropout": 0.4}


def losses(store: Store, subset: Subset, config: TrainConfig) -> list[float]:
    model = load_model(config.model, device="cpu")
    training = Training(model, material_of(store, subset, config, model=model), config)
    return [training.advance().loss for _ in range(config.steps)]


@pytest.mark.parametrize(
    ("family", "storage"),
    [("tiny_model", "float32"), ("tiny_model", "float16"), ("tiny_sdxl", "float32"), ("tiny_sd3", "float32")],
)
def test_batches_are_the_same_bit_for_bit_with_and_without_caches(
    store: Store, subset: Subset, cache: Path, request: pytest.FixtureRequest, family: str, storage: str
) -> None:
    folder = request.getfixturevalue(family)
    kept = material_of(store, subset, config_of(folder, data=DATA, cache={"storage": storage}))
    fresh = material_of(store, subset, config_of(folder, data=DATA, cache={**UNCACHED, "storage": storage}))
    assert cache.exists()
    # Parts of several sizes: an image's latents do not depend on its neighbours.
    for visits in ([Visit(0, 0)], [Visit(place, 1) for place in range(3)], [Visit(place, 2) for place in range(8)]):
        _assert_equal(kept.batch(visits), fresh.batch(visits))


def test_steps_are_the_same_bit_for_bit_with_and_without_latents_and_prompts(
    store: Store, subset: Subset, tiny_model: Path, cache: Path
) -> None:
    options: dict[str, Any] = {"steps": 4, "data": DATA}
    cached = losses(store, subset, config_of(tiny_model, **options))
    assert {path.name for path in cache.iterdir()} == {"latents", "prompts"}
    assert cached == losses(store, subset, config_of(tiny_model, **options, cache=UNCACHED))


@pytest.mark.parametrize(
    ("family", "lora"),
    [("tiny_model", None), ("tiny_model", {"rank": 2}), ("tiny_sdxl", None), ("tiny_sd3", None)],
)
def test_steps_are_the_same_bit_for_bit_with_cached_and_with_running_reference(
    store: Store, subset: Subset, cache: Path, request: pytest.FixtureRequest, family: str, lora: Any
) -> None:
    """Eight pairs in batches of four, for two epochs: two draws each, which fresh ones would be at first, too."""
    folder = request.getfixturevalue(family)
    options: dict[str, Any] = {"steps": 4, "learning_rate": 1e-2, "warmup": 0, "data": DATA, "lora": lora}
    cached = losses(store, subset, config_of(folder, **options, cache={"reference_draws": 2}))
    running = losses(store, subset, config_of(folder, **options))
    assert (cache / "reference").exists()
    assert cached == running
    assert len(set(cached)) == 4, "the policy moves"


def test_in_half_precision_a_cached_reference_starts_where_the_policy_does(
    store: Store, subset: Subset, tiny_model: Path, cache: Path
) -> None:
    """Public scripts cast the reference and its errors to half precision: the logit is off from the start."""
    config = config_of(tiny_model, steps=1, data=DATA, precision="bf16", cache={"reference_draws": 1})
    assert losses(store, subset, config) == [pytest.approx(0.6931471805599453, abs=1e-7)]
    assert cache.exists()


def test_with_other_batches_the_cached_errors_differ_in_the_last_digits_only(
    store: Store, subset: Subset, tiny_model: Path, cache: Path
) -> None:
    """Kernels sum in another order for other batch sizes, so a cache made at one is not bit-equal at another."""
    assert not cache.exists()
    made = material_of(store, subset, config_of(tiny_model, batch=8, data=DATA, cache={"reference_draws": 1}))
    assert made.references is not None
    config = config_of(tiny_model, batch=2, data=DATA)
    model = load_model(str(tiny_model), device="cpu")
    training = Training(model, material_of(store, subset, config, model=model), config)
    with training.reference() as reference:
        for place in range(0, 8, 2):
            batch = training.material.batch([Visit(place, 0), Visit(place + 1, 0)])
            noisy = model.noised(batch.latents, batch.noise, batch.times)
            with torch.no_grad():
                found = model.predict(reference, noisy, batch.times, batch.conditioning, batch.geometry)
            errors = (found - model.target(batch.latents, batch.noise, batch.times)).pow(2).mean((1, 2, 3))
            kept = made.references(made.rows.ids_of([place, place + 1]), [0, 0])
            torch.testing.assert_close(kept, errors, atol=1e-6, rtol=0)


def test_the_reference_neither_runs_nor_is_held_where_its_errors_are_kept(
    store: Store, subset: Subset, tiny_model: Path, cache: Path
) -> None:
    assert not cache.exists()
    config = config_of(tiny_model, steps=2, data=DATA, cache={"reference_draws": 1})
    material_of(store, subset, config)
    model = load_model(str(tiny_model), device="cpu")
    counted = counting(model)
    training = Training(model, material_of(store, subset, config, model=model), config)
    assert counted.passes == 0, "another run made them"
    with pytest.raises(ValueError, match="keeps no reference"), training.reference():
        pass
    training.advance()
    assert counted.passes == 1, "the policy's"


def test_no_encoder_runs_once_latents_and_prompts_are_kept(
    store: Store, subset: Subset, tiny_model: Path, cache: Path
) -> None:
    assert not cache.exists()
    config = config_of(tiny_model, data=DATA)
    model = load_model(str(tiny_model), device="cpu")
    material = material_of(store, subset, config, model=model)
    counted = counting(model)
    for number in range(4):
        material.batch([Visit(place, number) for place in range(8)])
    assert (counted.pictures, counted.prompts) == (0, 0)


def test_prompts_are_dropped_anew_at_each_visit(store: Store, subset: Subset, tiny_model: Path, cache: Path) -> None:
    """diffusers' precomputed embeddings decide once, for all epochs, whose prompt is dropped."""
    assert not cache.exists()
    material = material_of(store, subset, config_of(tiny_model, data={"prompt_dropout": 0.5}))
    nothing = material.prompts([""]).tensors["states"][0]
    dropped = set()
    for number in range(6):
        states = material.batch([Visit(place, number) for place in range(8)]).conditioning.tensors["states"]
        dropped.add(tuple(torch.equal(each, nothing) for each in states[:8]))
    assert len(dropped) == 6
    assert all(any(column) and not all(column) for column in zip(*dropped, strict=True)), "each pair, now and then"


def test_a_vae_that_overflows_is_refused_and_nothing_is_kept(
    store: Store, subset: Subset, tiny_model: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SDXL's VAE gives NaN in float16; kept, they would be trained on in every epoch."""
    model = load_model(str(tiny_model), device="cpu")
    whole = model.encode_pixels

    def overflowing(pixels: torch.Tensor) -> torch.Tensor:
        latents = whole(pixels)
        latents[0, 0, 0, 0] = float("nan")
        return latents

    monkeypatch.setattr(model, "encode_pixels", overflowing)
    with pytest.raises(PairsieveError, match="not finite"):
        material_of(store, subset, config_of(tiny_model), model=model)
    assert not list(cache.glob("latents/*/shards/*"))


def test_latents_too_large_for_float16_are_refused_in_float16(
    store: Store, subset: Subset, tiny_model: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not cache.exists()
    model = load_model(str(tiny_model), device="cpu")
    whole = model.encode_pixels
    monkeypatch.setattr(model, "encode_pixels", lambda pixels: whole(pixels) * 1e6)
    with pytest.raises(PairsieveError, match="too large for float16"):
        material_of(store, subset, config_of(tiny_model, cache={"storage": "float16"}), model=model)
    material_of(store, subset, config_of(tiny_model), model=model)


def test_pictures_pass_the_vae_in_batches_that_follow_from_their_size_alone() -> None:
    assert [encoding.pictures_at_once(side, side) for side in (64, 256, 512, 1024, 4096)] == [16, 8, 2, 1, 1]


def _assert_equal(one: PairBatch, other: PairBatch) -> None:
    for name in ("latents", "noise", "times", "geometry", "weight", "preference"):
        assert torch.equal(getattr(one, name), getattr(other, name)), name
        # Kernels are chosen by it, and round differently.
        assert getattr(one, name).stride() == getattr(other, name).stride(), name
    assert one.conditioning.tensors.keys() == other.conditioning.tensors.keys()
    for name, values in one.conditioning.tensors.items():
        assert torch.equal(values, other.conditioning.tensors[name]), name
