"""CLIP towers and heads, against the same numbers computed the long way on random weights."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from training.toyworld.tokenizer import CONTEXT, build_tokenizer
from workers.scorers import clip
from workers.scorers.base import Batch, ScorerSpec
from workers.scorers.runtime import Runtime
from workers.scorers.towers import ClipTower, clip_tower
from workers.scorers.views import crop
from workers.scorers.weights import assets_in


@pytest.fixture(scope="module")
def tower(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random open_clip model whose every parameter is noise, in the layout that `local-dir:` reads."""
    folder = tmp_path_factory.mktemp("clip")
    tokenizer = build_tokenizer()
    tokenizer.save_pretrained(folder)
    config: dict[str, Any] = {
        "embed_dim": 12,
        "vision_cfg": {"image_size": 32, "layers": 2, "width": 24, "head_width": 8, "patch_size": 16},
        "text_cfg": {
            "context_length": CONTEXT,
            "vocab_size": len(tokenizer),
            "width": 20,
            "heads": 2,
            "layers": 2,
            "hf_tokenizer_name": "local",
        },
    }
    preprocess = {"size": 32, "mean": list(open_clip.OPENAI_DATASET_MEAN), "std": list(open_clip.OPENAI_DATASET_STD)}
    text = json.dumps({"model_cfg": config, "preprocess_cfg": preprocess})
    (folder / "open_clip_config.json").write_text(text)
    model = open_clip.CLIP(**config)
    generator = torch.Generator().manual_seed(0)
    state = {
        name: torch.randn(value.shape, generator=generator) * 0.15 if value.ndim else torch.tensor(3.0)
        for name, value in model.state_dict().items()
        if "attn_mask" not in name
    }
    save_file(state, folder / "open_clip_model.safetensors")
    return folder


PROMPTS = ["a red star on a sand background", "a blue cross on a snow background", "a red star on a sand background"]


def pictures() -> list[Image.Image]:
    random = np.random.default_rng(0)
    sizes = [(32, 32), (48, 40), (33, 70)]
    return [Image.fromarray(random.integers(0, 256, (h, w, 3), dtype=np.uint8)) for w, h in sizes]


def spec(tower: Path, head: Path | None = None) -> ScorerSpec:
    assets = assets_in(tower) + (assets_in(head) if head else ())
    return ScorerSpec("s", "", "x:y", views=(clip.folder_view(tower),), assets=assets)


def batch_of(images: list[Image.Image], prompts: list[str]) -> Batch:
    return Batch.of(images, prompts, [crop(32)])


def long_way(folder: Path) -> tuple[torch.Tensor, torch.Tensor, float]:
    """Embeddings by explicit steps: PIL resize, crop, scale, normalise, encode, divide by the norm."""
    model = open_clip.create_model(f"local-dir:{folder}").eval()
    mean, std = (np.array(v) for v in (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD))
    images = []
    for picture in pictures():
        scale = 32 / min(picture.size)
        size = tuple(32 if side == min(picture.size) else int(side * scale) for side in picture.size)
        small = picture.resize(size, Image.Resampling.BICUBIC)
        left, top = round((small.width - 32) / 2), round((small.height - 32) / 2)
        square = np.asarray(small.crop((left, top, left + 32, top + 32)), np.float64) / 255
        images.append(torch.tensor((square - mean) / std, dtype=torch.float32).permute(2, 0, 1))
    ids = torch.full((3, CONTEXT), 601)
    for row, prompt in enumerate(PROMPTS):
        tokens = build_tokenizer()(prompt).input_ids
        ids[row, : len(tokens)] = torch.tensor(tokens)
    with torch.no_grad():
        image, text = model.encode_image(torch.stack(images)), model.encode_text(ids)
        scale = float(model.logit_scale.exp())
    return image / image.norm(dim=1, keepdim=True), text / text.norm(dim=1, keepdim=True), scale


def test_the_clip_score_is_the_cosine(tower: Path) -> None:
    image, text, _ = long_way(tower)
    score = clip.clip_score(spec(tower), Runtime())
    np.testing.assert_allclose(score(batch_of(pictures(), PROMPTS)), (image * text).sum(1), atol=2e-6)


def test_the_preference_score_is_the_cosine_times_the_learnt_scale(tower: Path) -> None:
    image, text, scale = long_way(tower)
    score = clip.preference(spec(tower), Runtime())
    assert scale == pytest.approx(np.exp(3), rel=1e-6)
    np.testing.assert_allclose(score(batch_of(pictures(), PROMPTS)), scale * (image * text).sum(1), atol=4e-5)


def test_the_aesthetic_head_reads_the_normalised_embedding(tower: Path, tmp_path: Path) -> None:
    weight, bias = torch.randn(1, 12), torch.tensor([5.0])
    save_file({"weight": weight, "bias": bias}, tmp_path / "aesthetic_head.safetensors")
    image, _, _ = long_way(tower)
    score = clip.aesthetic(spec(tower, tmp_path), Runtime())
    np.testing.assert_allclose(score(batch_of(pictures(), PROMPTS)), image @ weight[0] + 5, atol=1e-5)


def test_one_tower_pass_serves_every_head_on_it(tower: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_file({"weight": torch.zeros(1, 12), "bias": torch.zeros(1)}, tmp_path / "aesthetic_head.safetensors")
    passes: list[int] = []
    images = ClipTower.images
    monkeypatch.setattr(ClipTower, "images", lambda self, crops: passes.append(1) or images(self, crops))
    batch = batch_of(pictures(), PROMPTS)
    for factory in (clip.clip_score, clip.preference, clip.aesthetic):
        factory(spec(tower, tmp_path), Runtime())(batch)
    assert passes == [1]


def test_a_score_does_not_depend_on_its_neighbours(tower: Path) -> None:
    score = clip.clip_score(spec(tower), Runtime())
    together = score(batch_of(pictures(), PROMPTS))
    apart = [score(batch_of([image], [prompt]))[0] for image, prompt in zip(pictures(), PROMPTS, strict=True)]
    backwards = score(batch_of(pictures()[::-1], PROMPTS[::-1]))[::-1]
    np.testing.assert_allclose(together, apart, atol=1e-6)
    np.testing.assert_allclose(together, backwards, atol=1e-6)


def test_an_unnormalised_embedding_would_be_noticed(tower: Path) -> None:
    # The negative control of the tests above: leaving the norm out moves the score far beyond their tolerance.
    model = open_clip.create_model(f"local-dir:{tower}").eval()
    _, text, _ = long_way(tower)
    _, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{tower}")
    with torch.no_grad():
        raw = model.encode_image(torch.stack([preprocess(picture) for picture in pictures()]))
    score = clip.clip_score(spec(tower), Runtime())(batch_of(pictures(), PROMPTS))
    assert float(np.abs((raw * text).sum(1).numpy() - score).min()) > 0.01


def test_loading_a_tower_says_nothing_and_leaves_the_root_logger_as_it_was(
    tower: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = (logging.root.handlers[:], logging.root.level, logging.root.manager.disable)
    clip_tower(spec(tower), Runtime())
    assert (logging.root.handlers, logging.root.level, logging.root.manager.disable) == before
    assert capfd.readouterr().err == ""
