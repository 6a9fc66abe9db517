"""Which caches a changed config, model or subset leaves as they are."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from cached_runs import config_of, counting, material_of
from pickapic_factory import jpeg, rows
from subsets import all_pairs

from ranking.store.blobs import Store
from ranking.store.snapshots import Snapshot, get_snapshot
from ranking.subsets.catalog import Subset
from ranking.subsets.recipe import parse_recipe
from ranking.subsets.select import create_subset
from training.caches.provide import Round
from training.caches.reference import reference_identity
from training.data.order import Visit
from training.models.load import load_for, load_model

BASE: dict[str, Any] = {"cache": {"reference_draws": 2}, "data": {"prompt_dropout": 0.3}}

KEPT_ALL = (False, False, False)
ONLY_REFERENCE = (False, False, True)
LATENTS_AND_REFERENCE = (True, False, True)
EVERYTHING = (True, True, True)

CHANGES: dict[str, tuple[dict[str, Any], tuple[bool, bool, bool]]] = {
    "nothing": ({}, KEPT_ALL),
    "learning rate": ({"learning_rate": 1e-3}, KEPT_ALL),
    "schedule": ({"schedule": "cosine", "warmup": 3}, KEPT_ALL),
    "steps": ({"steps": 7}, KEPT_ALL),
    "accumulation": ({"accumulate": 3}, KEPT_ALL),
    "batch": ({"batch": 2}, KEPT_ALL),
    "optimiser": ({"optimiser": "adafactor"}, KEPT_ALL),
    "β": ({"method": {"name": "dpo", "beta": 500}}, KEPT_ALL),
    "method": ({"method": "ipo"}, KEPT_ALL),
    "LoRA": ({"lora": {"rank": 2}}, KEPT_ALL),
    "averaging": ({"ema": {}}, KEPT_ALL),
    "what is watched": ({"watch": {"time_buckets": 3}}, KEPT_ALL),
    "fewer draws": ({"cache": {"reference_draws": 1}}, KEPT_ALL),
    "more draws": ({"cache": {"reference_draws": 3}}, ONLY_REFERENCE),
    "no fixed draws": ({"cache": {}}, KEPT_ALL),
    "no reference": ({"cache": {}, "method": "sft"}, KEPT_ALL),
    "seed": ({"seed": 1}, ONLY_REFERENCE),
    "prompt dropout": ({"data": {"prompt_dropout": 0.5}}, ONLY_REFERENCE),
    "empty prompt": ({"data": {"prompt_dropout": 0.3, "empty_prompt": "zeros"}}, ONLY_REFERENCE),
    "precision": ({"precision": "bf16"}, ONLY_REFERENCE),
    "flip": ({"data": {"prompt_dropout": 0.3, "flip": True}}, LATENTS_AND_REFERENCE),
    "resolution": ({"data": {"prompt_dropout": 0.3, "resolution": 16}}, LATENTS_AND_REFERENCE),
    "storage": ({"cache": {"reference_draws": 2, "storage": "float16"}}, EVERYTHING),
}


def test_each_change_makes_anew_only_what_it_decides(
    store: Store, subset: Subset, tiny_model: Path, cache: Path
) -> None:
    """diffusers' scripts name their cache by a hash of all arguments, so another learning rate encodes all again."""
    model = load_model(str(tiny_model), device="cpu")
    counted = counting(model)
    material_of(store, subset, config_of(tiny_model, **BASE), model=model)
    assert counted.take() == EVERYTHING
    assert {path.name for path in cache.iterdir()} == {"latents", "prompts", "reference"}
    wrong = {}
    for name, (change, expected) in CHANGES.items():
        material_of(store, subset, config_of(tiny_model, **{**BASE, **change}), model=model)
        done = counted.take()
        # The width of a prompt's states is learnt by encoding the empty one.
        done = (done[0], done[1] and expected[1], done[2])
        if done != expected:
            wrong[name] = (done, expected)
    assert not wrong


def test_a_device_of_another_sort_and_a_compiled_denoiser_have_errors_of_their_own(tiny_model: Path) -> None:
    model = load_model(str(tiny_model), device="cpu")
    names = set()
    for device in ("cpu", "cuda", "mps"):
        model.device = torch.device(device)
        for compiled in (False, True):
            names.add(reference_identity(model, config_of(tiny_model, compile=compiled)).name)
    assert len(names) == 6
    model.device = torch.device("cuda:1")
    assert reference_identity(model, config_of(tiny_model)).name in names, "but which one of several does not matter"


def test_other_noise_levels_of_a_flow_have_errors_of_their_own(tiny_sd3: Path, tiny_model: Path) -> None:
    def names(model: Path) -> set[str]:
        configs = [config_of(model, flow=flow) for flow in ({}, {"shift": 1.0}, {"density": "uniform"}, {"mean": 0.5})]
        return {reference_identity(load_for(config, device="cpu"), config).name for config in configs}

    assert len(names(tiny_sd3)) == 4
    assert len(names(tiny_model)) == 1, "timesteps of a schedule know no such thing"


def test_what_stands_for_no_prompt_is_named_by_what_it_is(tiny_model: Path, tiny_sdxl: Path) -> None:
    for folder, unset in ((tiny_model, "encoded"), (tiny_sdxl, "zeros")):
        model = load_model(str(folder), device="cpu")
        names = {
            kind: reference_identity(model, config_of(folder, data={"empty_prompt": kind})).name
            for kind in (None, "encoded", "zeros")
        }
        assert names[None] == names[unset]
        assert names["encoded"] != names["zeros"]


def test_another_denoiser_keeps_latents_and_prompts(
    store: Store, subset: Subset, tiny_model: Path, tiny_sd_v: Path, cache: Path
) -> None:
    """Both pipelines share VAE and text encoder, weight for weight; one predicts noise, the other velocity."""
    assert not cache.exists()
    first, second = (load_model(str(folder), device="cpu") for folder in (tiny_model, tiny_sd_v))
    assert first.vae_fingerprint == second.vae_fingerprint and first.text_fingerprint == second.text_fingerprint
    material_of(store, subset, config_of(tiny_model, **BASE), model=first)
    counted = counting(second)
    material_of(store, subset, config_of(tiny_sd_v, **BASE), model=second)
    pictures, _, passes = counted.take()
    assert (pictures, passes) == (False, True)


def test_a_second_subset_encodes_only_its_new_pictures_and_prompts(
    store: Store, subset: Subset, tiny_model: Path, cache: Path
) -> None:
    assert not cache.exists()
    model = load_model(str(tiny_model), device="cpu")
    half = create_subset(
        store,
        parse_recipe(subset.recipe | {"name": "half", "take": {"percent": 50.0}}),
        _snapshot(store, subset),
    )
    told: dict[str, list[int]] = {}

    def way() -> Round:
        return Round(tell=lambda stage, done, total: told.setdefault(stage, []).append(done))

    first = material_of(store, half, config_of(tiny_model, **BASE), model=model)
    told.clear()
    second = material_of(store, subset, config_of(tiny_model, **BASE), model=model, way=way)
    assert told["latents"][0] == len(first.rows.images), "what is there before anything is made"
    assert told["latents"][-1] == len(second.rows.images)
    assert told["reference"][0] == 2 * len(first)
    assert told["reference"][-1] == 2 * len(second)


def test_other_labels_of_the_same_pairs_keep_the_references_errors(
    store: Store, subset: Subset, tiny_model: Path, cache: Path
) -> None:
    """Relabelled, a pair's winner and loser change places, and so do its errors."""
    assert not cache.exists()
    model = load_model(str(tiny_model), device="cpu")
    relabelled = create_subset(
        store,
        parse_recipe(subset.recipe | {"name": "relabelled", "labels": {"relabel": "fixed"}}),
        _snapshot(store, subset),
    )
    first = material_of(store, subset, config_of(tiny_model, **BASE), model=model)
    told: list[int] = []

    def way() -> Round:
        return Round(tell=lambda stage, done, _: told.append(done) if stage == "reference" else None)

    second = material_of(store, relabelled, config_of(tiny_model, **BASE), model=model, way=way)
    assert told[0] == 2 * len(first), "only ties that have a winner now are new"
    ids = sorted(set(first.rows.pair_ids.to_pylist()) & set(second.rows.pair_ids.to_pylist()))
    turned = []
    for pair_id in ids:
        before, after = (
            material.references([pair_id], [1]).tolist()  # type: ignore[misc]
            for material in (first, second)
        )
        images = [
            material.images([Visit(material.rows.pair_ids.to_pylist().index(pair_id), 1)])
            for material in (first, second)
        ]
        turned.append(images[0] != images[1])
        assert after == (before[::-1] if turned[-1] else before)
    assert any(turned) and not all(turned)


def test_two_datasets_that_use_the_same_uids_do_not_share_latents(
    tmp_path: Path, tiny_model: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not cache.exists()
    latents = []
    for number, name in enumerate(("one", "other")):
        monkeypatch.setenv("PAIRSIEVE_STORE", str(tmp_path / name))
        store = Store.open(tmp_path / name)
        other = (("jpg_0", jpeg("another")), ("jpg_1", jpeg("and another")))
        made = [replace(row, raw=other if number else ()) for row in rows(3)]
        subset = all_pairs(store, tmp_path / name, made)
        material = material_of(store, subset, config_of(tiny_model))
        latents.append(material.batch([Visit(0, 0)]).latents)
    assert not torch.equal(*latents)


def _snapshot(store: Store, subset: Subset) -> Snapshot:
    return get_snapshot(store, subset.snapshot.n)
