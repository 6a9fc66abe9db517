"""A CLIP that is fine-tuned: which parameters move, and that what is written scores as what was trained."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch

from ranking.errors import UnknownNameError, UsageError
from ranking.names import canonical_json
from ranking.trained import TrainedScorer, described
from training.reward.clip import Pixels, clip_base, clip_learner, clip_options, save_clip, trainable_clip
from training.reward.config import RewardConfig
from training.reward.loop import Learner, fit
from training.reward.objective import Pairs
from training.toyworld.scorers import WEIGHTS
from workers.scorers.base import Batch, ScorerSpec
from workers.scorers.clip import folder_view, preference
from workers.scorers.registry import choose
from workers.scorers.runtime import Runtime
from workers.scorers.towers import LoadedClip
from workers.scorers.trained import spec_of
from workers.scorers.weights import Asset, assets_in

PROMPTS = ["a red star on a sand background", "a blue circle on a night background", "a green ring on a sky background"]
RNG = np.random.default_rng(0)
PICTURES = RNG.integers(0, 256, (12, 64, 64, 3)).astype(np.uint8)
PAIRS = Pairs(RNG.integers(0, 12, 8), RNG.integers(0, 12, 8), RNG.integers(0, 3, 8), RNG.random(8).round(), np.ones(8))
CONFIG = RewardConfig(kind="clip", steps=2, batch=8, learning_rate=1e-3, warmup=0, patience=0, keep="last")


def made(**changes: object) -> tuple[LoadedClip, Learner]:
    clip = trainable_clip(clip_base("clip-toy"), "cpu")
    pixels = Pixels(PICTURES, np.arange(12), clip.tokenize(PROMPTS))
    return clip, clip_learner(clip, pixels, CONFIG.model_copy(update=changes), "cpu")


def moved(**changes: object) -> set[str]:
    """The parameters that two steps change."""
    clip, learner = made(**changes)
    before = {name: value.detach().clone() for name, value in clip.model.named_parameters()}
    fit(learner, PAIRS, None, CONFIG.model_copy(update=changes))
    return {name for name, value in clip.model.named_parameters() if not torch.equal(value, before[name])}


def test_everything_is_trained_unless_it_is_frozen() -> None:
    everything = moved()
    names = {name for name, _ in made()[0].model.named_parameters()}
    assert everything == names
    assert moved(train_scale=False) == names - {"logit_scale"}


def test_a_frozen_tower_and_frozen_lower_blocks_stay() -> None:
    upper = moved(freeze_vision=3, freeze_text=-1)
    assert all(name.startswith("visual.") for name in upper - {"logit_scale"})
    blocks = {int(name.split("resblocks.")[1].split(".")[0]) for name in upper if "resblocks" in name}
    assert blocks == {3}
    assert {"visual.proj", "visual.ln_post.weight"} <= upper
    assert not {"visual.conv1.weight", "visual.positional_embedding", "visual.class_embedding"} & upper
    with pytest.raises(UsageError, match="every layer is frozen"):
        made(freeze_vision=-1, freeze_text=-1, train_scale=False)


def test_the_text_tower_may_have_a_rate_of_its_own_and_vectors_do_not_decay() -> None:
    _, learner = made(text_learning_rate=1e-5)
    rates = {(group.rate, group.decay) for group in learner.groups}
    assert rates == {(1e-3, 0.05), (1e-3, 0.0), (1e-5, 0.05), (1e-5, 0.0)}
    assert all(p.ndim < 2 for group in learner.groups if not group.decay for p in group.parameters)


@pytest.mark.parametrize("half", [False, True])
def test_what_is_written_scores_as_what_was_trained(tmp_path: Path, half: bool) -> None:
    clip, learner = made()
    fit(learner, PAIRS, None, CONFIG)
    base = clip_base("clip-toy")
    files = save_clip(clip, base, tmp_path / "out", half=half)
    assert set(files) == {path.name for path in (WEIGHTS / "clip").iterdir()}
    spec = ScorerSpec(
        name="mine", summary="", factory="", views=(folder_view(tmp_path / "out"),), assets=assets_in(tmp_path / "out")
    )
    (view,) = spec.views
    batch = Batch(
        prompts=PROMPTS,
        image_of=PAIRS.image_0,
        prompt_of=PAIRS.prompt,
        images=12,
        views={view: list(PICTURES)},
    )
    learner.module.eval()
    with torch.no_grad():
        wanted = learner.scores(PAIRS.image_0, PAIRS.prompt, False).numpy()
    scores = preference(spec, Runtime())(batch)
    assert scores == pytest.approx(wanted, abs=0.2 if half else 1e-4)
    before = preference(base, Runtime())(batch)
    assert np.abs(before - wanted).max() > 0.5  # training did move them
    assert clip_options(base)["view"] == view.content()


def test_training_does_not_write_into_the_files_it_started_from() -> None:
    file = WEIGHTS / "clip" / "open_clip_model.safetensors"
    before = file.read_bytes()
    _, learner = made()
    fit(learner, PAIRS, None, CONFIG)
    assert file.read_bytes() == before


def test_mirrored_pictures_and_recomputed_activations() -> None:
    _, learner = made()
    _, checkpointed = made(checkpointing=True)
    mirrored = Pixels(
        PICTURES[:, :, ::-1], np.arange(12), trainable_clip(clip_base("clip-toy"), "cpu").tokenize(PROMPTS)
    )
    clip = trainable_clip(clip_base("clip-toy"), "cpu")
    other = clip_learner(clip, mirrored, CONFIG, "cpu")
    with torch.no_grad():
        wanted = other.scores(PAIRS.image_0, PAIRS.prompt, False)
        assert torch.allclose(learner.scores(PAIRS.image_0, PAIRS.prompt, True), wanted, atol=1e-4)
        assert not torch.allclose(learner.scores(PAIRS.image_0, PAIRS.prompt, False), wanted, atol=1e-2)
    gradients = []
    for each in (learner, checkpointed):
        each.module.train()
        each.gaps(PAIRS).sum().backward()
        gradients.append(each.module.visual.conv1.weight.grad)
    assert torch.allclose(gradients[0], gradients[1], rtol=1e-4, atol=1e-5)


def test_half_precision_towers_score_nearly_alike_with_a_float32_score() -> None:
    _, whole = made()
    _, halved = made(precision="bf16")
    with torch.no_grad():
        wanted, found = (each.scores(PAIRS.image_0, PAIRS.prompt, False) for each in (whole, halved))
    assert found.dtype == torch.float32
    assert not torch.equal(found, wanted) and torch.allclose(found, wanted, atol=1.5)


def test_a_base_that_is_no_clip_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no CLIP: it has no open_clip_config\.json"):
        clip_base(str(tmp_path))
    for name in ("technical", "aesthetic-toy"):
        with pytest.raises(UsageError, match="is no CLIP that compares"):
            clip_base(name)
    with pytest.raises(UnknownNameError, match="did you mean clip-toy"):
        clip_base("clip-toi")
    shutil.copytree(WEIGHTS / "clip", tmp_path / "mine")
    assert clip_base(str(tmp_path / "mine")).views == clip_base("clip-toy").views


def test_a_base_that_options_describe_is_written_with_all_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = {
        "embed_dim": 16,
        "quick_gelu": True,
        "vision_cfg": {"image_size": 64, "layers": 2, "width": 24, "head_width": 8, "patch_size": 16},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 20, "heads": 4, "layers": 2},
    }
    monkeypatch.setattr(open_clip, "get_model_config", lambda name: config if name == "tiny" else None)
    torch.manual_seed(0)
    torch.save(open_clip.CLIP(**config).state_dict(), tmp_path / "base.bin")
    options = {"architecture": "tiny", "weights": "base.bin", "layout": "open_clip", "tokenizer": "open_clip"}
    base = ScorerSpec(
        name="clip-tiny",
        summary="",
        factory="workers.scorers.clip:clip_score",
        views=clip_base("clip-toy").views,
        assets=(Asset("clip-tiny/base.bin", path=tmp_path / "base.bin"),),
        options=(*options.items(), ("mean", (0.48, 0.46, 0.41)), ("std", (0.27, 0.26, 0.28))),
    )
    clip = trainable_clip(base, "cpu")
    learner = clip_learner(clip, Pixels(PICTURES, np.arange(12), clip.tokenize(PROMPTS)), CONFIG, "cpu")
    fit(learner, PAIRS, None, CONFIG)
    files = save_clip(clip, base, tmp_path / "out", half=False)
    kept = json.loads(canonical_json(clip_options(base)))
    record = TrainedScorer("mine", 1, "clip", "t", "", "", 1, kept, described(files), (), {})
    spec = spec_of(record, lambda file: files[file.name], choose)
    (view,) = spec.views
    batch = Batch(PROMPTS, PAIRS.image_0, PAIRS.prompt, 12, {view: list(PICTURES)})
    learner.module.eval()
    with torch.no_grad():
        wanted = learner.scores(PAIRS.image_0, PAIRS.prompt, False).numpy()
    assert preference(spec, Runtime())(batch) == pytest.approx(wanted, abs=1e-4)
    # The negative control: the activation is in the architecture, and another one scores otherwise.
    config["quick_gelu"] = False
    other = ScorerSpec("other", "", "", spec.views, spec.assets, (*spec.options, ("head", "none")))
    monkeypatch.setattr("workers.scorers.towers._loaded", {})
    assert np.abs(preference(other, Runtime())(batch) - wanted).max() > 1e-3
