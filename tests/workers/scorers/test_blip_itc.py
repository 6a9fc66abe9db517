"""The BLIP score against image-reward 1.5's `BLIPScore` (run apart by scripts/golden/make_image_reward.py) on a model
in miniature whose every parameter is noise, in a checkpoint with all that pre-training leaves in it."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_blip import PROMPTS, TINY, VOCABULARY, blip_layout, pictures, pretrain_layout, tiny_parameters

from workers.scorers import blip, blip_itc
from workers.scorers.base import Batch, Floats, ScorerSpec
from workers.scorers.catalog.blip import SPECS
from workers.scorers.lean import parted
from workers.scorers.runtime import Runtime
from workers.scorers.views import crop
from workers.scorers.weights import Asset, WeightsError

GOLDEN = json.loads((Path(__file__).parent / "golden" / "image_reward.json").read_text())
PUBLISHED = SPECS[1]
TOLERANCE = 5e-7
GRID = [(image, prompt) for image in range(3) for prompt in range(4)]


def spec_in(folder: Path, **changes: Any) -> ScorerSpec:
    assets = tuple(Asset(asset.name, path=folder / Path(asset.name).name) for asset in PUBLISHED.assets)
    options = tuple((TINY | changes).items())
    return dataclasses.replace(PUBLISHED, assets=assets, options=options, views=(crop(TINY["image_size"]),))


def write(folder: Path, layout: dict[str, tuple[int, ...]]) -> None:
    state = {key: torch.from_numpy(value) for key, value in tiny_parameters(layout).items()}
    torch.save({"model": state, "epoch": 19}, folder / "model_large.pth")
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n", encoding="utf-8")


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> ScorerSpec:
    folder = tmp_path_factory.mktemp("blip")
    write(folder, pretrain_layout(TINY))
    return spec_in(folder)


def cosines(spec: ScorerSpec, grid: list[tuple[int, int]] = GRID, part: int = 128) -> Floats:
    shown = pictures()
    images, prompts = [shown[image] for image, _ in grid], [PROMPTS[prompt] for _, prompt in grid]
    return blip_itc.blip_similarity(spec, Runtime(part=part))(Batch.of(images, prompts, spec.views))


def golden() -> Floats:
    return np.array([GOLDEN["cosines"][image][prompt] for image, prompt in GRID], np.float32)


def test_scores_are_those_of_the_authors_score(spec: ScorerSpec) -> None:
    given = cosines(spec)
    assert given.dtype == np.float32
    np.testing.assert_allclose(given, golden(), rtol=0, atol=TOLERANCE)


def test_a_score_does_not_depend_on_its_neighbours_or_their_order(spec: ScorerSpec) -> None:
    together = cosines(spec)
    apart = np.concatenate([cosines(spec, [item]) for item in GRID])
    for other in (apart, cosines(spec, GRID[::-1])[::-1], cosines(spec, part=2)):
        np.testing.assert_allclose(other, together, rtol=0, atol=3e-7)


def test_a_prompt_is_read_once_for_all_images_and_batches(spec: ScorerSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []

    def told(tower: Any, ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        read.append(len(ids))
        return blip.read(tower, ids, lengths)

    monkeypatch.setattr(blip_itc, "read", told)
    score = blip_itc.blip_similarity(spec, Runtime())
    for _ in range(2):
        score(Batch.of(pictures(), [PROMPTS[0], PROMPTS[1], PROMPTS[0]], spec.views))
    assert read == [2]


@pytest.mark.parametrize("wrong", [{"text_heads": 8}, {"vision_heads": 6}])
def test_another_number_of_heads_would_be_noticed(spec: ScorerSpec, wrong: dict[str, int]) -> None:
    folder = spec.path("vocab.txt").parent
    assert np.abs(cosines(spec_in(folder, **wrong)) - golden()).max() > 100 * TOLERANCE


def test_vectors_of_another_length_than_one_would_be_noticed(spec: ScorerSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blip_itc, "normalize", lambda vectors: vectors)
    assert np.abs(cosines(spec) - golden()).min() > 100 * TOLERANCE


def test_enc_before_the_prompt_would_be_noticed(spec: ScorerSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    pieces = blip.WordPieces.__call__
    enc = TINY["vocabulary"] - 1
    monkeypatch.setattr(
        blip.WordPieces, "__call__", lambda self, prompts: [np.append(enc, ids[1:]) for ids in pieces(self, prompts)]
    )
    assert np.abs(cosines(spec) - golden()).max() > 100 * TOLERANCE


def test_momentum_towers_are_other_towers(spec: ScorerSpec, tmp_path: Path) -> None:
    # Which of the two a checkpoint's keys lead to is seen in the score.
    write(tmp_path, pretrain_layout(TINY))
    state = torch.load(tmp_path / "model_large.pth", weights_only=True)["model"]
    swapped = {key: state[key.replace("visual_encoder.", "visual_encoder_m.")] for key in state}
    torch.save({"model": swapped}, tmp_path / "model_large.pth")
    assert np.abs(cosines(spec_in(tmp_path)) - golden()).max() > 100 * TOLERANCE


def test_only_what_pretraining_keeps_beside_is_left_out() -> None:
    every = pretrain_layout(TINY)
    for key in every.keys() - blip_layout(TINY).keys():
        assert parted({key: torch.zeros(1)}, (), dropped=blip_itc._DROPPED, what="") == []
    for key in ("text_encoder.pooler.dense.bias", "vision_proj2.weight", "visual_encoder.extra", "temp2", "itm_head.x"):
        with pytest.raises(WeightsError, match=key):
            parted({key: torch.zeros(1)}, (), dropped=blip_itc._DROPPED, what="")


def test_a_checkpoint_without_a_tower_is_refused(tmp_path: Path) -> None:
    layout = {key: size for key, size in pretrain_layout(TINY).items() if key != "visual_encoder.norm.bias"}
    write(tmp_path, layout)
    with pytest.raises(WeightsError, match=r"lacks post_layernorm\.bias"):
        blip_itc.blip_similarity(spec_in(tmp_path), Runtime())
    write(tmp_path, {key: size for key, size in pretrain_layout(TINY).items() if key != "text_proj.bias"})
    with pytest.raises(WeightsError, match=r"text projection .* lacks bias"):
        blip_itc.blip_similarity(spec_in(tmp_path), Runtime())


def test_the_published_layout_fits_the_towers_key_by_key() -> None:
    shape = blip.BlipShape.of(PUBLISHED)
    state = {key: torch.empty(size, device="meta") for key, size in pretrain_layout(dict(PUBLISHED.options)).items()}
    prefixes = ("visual_encoder.", "text_encoder.", "vision_proj.", "text_proj.")
    seen, read, *heads = parted(state, prefixes, dropped=blip_itc._DROPPED, what="")
    vision, text = blip.vision_tower(shape).state_dict(), blip.text_tower(shape, looks=False).state_dict()
    assert {blip.vision_key(key): value.shape for key, value in seen.items()} == shapes(vision)
    read.pop("embeddings.position_ids")
    assert shapes(read) == shapes(text)
    parts = [vision, text, *heads]
    assert PUBLISHED.cost.parameters == sum(math.prod(value.shape) for part in parts for value in part.values())


def shapes(state: dict[str, torch.Tensor]) -> dict[str, torch.Size]:
    return {key: value.shape for key, value in state.items()}
