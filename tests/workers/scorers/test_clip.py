"""CLIP towers and heads, against the same numbers computed the long way on random weights."""

import gc
import json
import logging
import shutil
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from training.toyworld.tokenizer import CONTEXT, build_tokenizer
from workers.scorers import clip
from workers.scorers.base import Batch, ScorerSpec
from workers.scorers.runtime import Runtime
from workers.scorers.towers import clip_tower
from workers.scorers.views import crop, squash
from workers.scorers.weights import WeightsError, assets_in


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


class Passes:
    """Counts the pictures and prompts that go through towers."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pictures: list[int] = []
        self.prompts: list[int] = []
        for name, seen in (("encode_image", self.pictures), ("encode_text", self.prompts)):
            encode = getattr(open_clip.CLIP, name)

            def counted(model: Any, inputs: Any, encode: Any = encode, seen: list[int] = seen) -> Any:
                seen.append(len(inputs))
                return encode(model, inputs)

            monkeypatch.setattr(open_clip.CLIP, name, counted)


def head_in(folder: Path, weight: float) -> Path:
    folder.mkdir()
    save_file({"weight": torch.full((1, 12), weight), "bias": torch.zeros(1)}, folder / "aesthetic_head.safetensors")
    return folder


def test_one_tower_pass_serves_every_scorer_on_it(tower: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    passes = Passes(monkeypatch)
    made = [
        clip.clip_score(spec(tower), Runtime()),
        clip.preference(spec(tower), Runtime()),
        clip.aesthetic(spec(tower, head_in(tmp_path / "v1", 1.0)), Runtime()),
        clip.aesthetic(spec(tower, head_in(tmp_path / "v2", 2.0)), Runtime()),
    ]
    embed = clip.embeddings(spec(tower), Runtime())
    batch = batch_of(pictures(), PROMPTS)
    v1, v2 = [score(batch) for score in made][2:]
    kept = embed(batch)
    assert (passes.pictures, passes.prompts) == ([3], [2])
    np.testing.assert_allclose(v2, 2 * v1, rtol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(kept.image, axis=1), 1, rtol=1e-6)
    again = batch_of(pictures(), [PROMPTS[1], "a new prompt", PROMPTS[0]])
    made[0](again)
    assert (passes.pictures, passes.prompts) == ([3, 3], [2, 1])


def test_another_precision_runtime_or_file_is_another_tower(tower: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(tower, other)
    state = load_file(other / "open_clip_model.safetensors")
    save_file({key: value * 1.01 for key, value in state.items()}, other / "open_clip_model.safetensors")
    same = clip_tower(spec(tower), Runtime())
    assert clip_tower(spec(tower), Runtime()) is same
    assert clip_tower(spec(tower).at("bf16"), Runtime()) is not same
    assert clip_tower(spec(tower), Runtime(part=7)) is not same
    assert clip_tower(spec(other), Runtime()) is not same


def test_a_towers_memory_goes_with_its_last_scorer(tower: Path) -> None:
    # By counting references alone: a GPU cannot wait for the collector of cycles.
    gc.disable()
    try:
        first, second = clip.clip_score(spec(tower), Runtime()), clip.preference(spec(tower), Runtime())
        alive = weakref.ref(clip_tower(spec(tower), Runtime()))
        first(batch_of(pictures(), PROMPTS))
        del first
        assert alive() is not None
        del second
        assert alive() is None
    finally:
        gc.enable()


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


def preprocessing(folder: Path, **changed: Any) -> Path:
    preprocess = {"size": 32, "mean": [0.5] * 3, "std": [0.5] * 3} | changed
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": {}, "preprocess_cfg": preprocess}))
    return folder


def test_a_folders_own_preprocessing_decides_what_it_sees(tmp_path: Path) -> None:
    assert clip.folder_view(preprocessing(tmp_path)) == crop(32)
    assert clip.folder_view(preprocessing(tmp_path, size=[48, 48], interpolation="bilinear")) == crop(48, "bilinear")
    assert clip.folder_view(preprocessing(tmp_path, resize_mode="squash", fill_color=0)) == squash(32)


@pytest.mark.parametrize(
    "changed", [{"size": [32, 48]}, {"resize_mode": "longest"}, {"interpolation": "random"}, {"mode": "L"}]
)
def test_a_folder_that_asks_for_what_no_view_gives_is_refused_in_one_line(
    tmp_path: Path, changed: dict[str, Any]
) -> None:
    with pytest.raises(WeightsError, match="asks for pictures of") as refused:
        clip.folder_view(preprocessing(tmp_path, **changed))
    assert "\n" not in str(refused.value)


def test_a_folder_of_another_models_weights_is_refused_before_any_picture(tower: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(tower, other)
    state = load_file(other / "open_clip_model.safetensors")
    del state["visual.proj"]
    save_file(state, other / "open_clip_model.safetensors")
    with pytest.raises(WeightsError, match="scorer s: the weights do not fit the model: the file lacks 1 keys"):
        clip.clip_score(spec(other), Runtime())
