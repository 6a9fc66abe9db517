"""A style study from pictures to table, and what its measures say of pictures whose style is known."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from ranking.errors import UnknownNameError, UsageError
from ranking.store.blobs import Store
from service.cli import app
from training.style.distances import Cloud, discrepancy, frechet, linear, numbered
from training.style.features import inception, load_features
from training.style.report import write_report
from training.style.sets import Couple, write_style_set
from training.style.spec import load_style_study
from training.style.study import run_style_study
from training.style.textures import RandomTexture, texture_network
from training.style.transforms import style
from training.toyworld.world import GENERATORS, render, train_scenes
from workers.scorers.weights import WeightsError

SCENES = [scene for scene in train_scenes()[::4] for _ in range(2)]
PICTURES = [Image.fromarray(each) for each in render(GENERATORS[2].draw(SCENES, np.random.default_rng(0)))]
PROMPTS = [scene.prompt for scene in SCENES]


def styled(name: str) -> list[Image.Image]:
    return [Image.fromarray(style(name)(np.asarray(image))) for image in PICTURES]


def test_every_measure_puts_the_styled_pictures_nearest_to_other_styled_pictures() -> None:
    # Even prompts are references, odd ones are compared with them: no picture is in both.
    order = numbered(PROMPTS)
    place = [order[prompt] % 2 for prompt in PROMPTS]
    pick = lambda images, side: [image for image, each in zip(images, place, strict=True) if each == side]  # noqa: E731
    shown = [[prompt for prompt, each in zip(PROMPTS, place, strict=True) if each == side] for side in (0, 1)]
    texture = RandomTexture()
    reference = Cloud.of(texture.grams(pick(styled("sketch"), 0)), shown[0], order)
    found = {
        name: discrepancy(Cloud.of(texture.grams(pick(images, 1)), shown[1], order), reference, linear)
        for name, images in (("sketch", styled("sketch")), ("winter", styled("winter")), ("none", PICTURES))
    }
    assert found["sketch"].value < found["none"].value / 3 and found["sketch"].value < found["winter"].value / 3


def test_a_gram_distance_is_gatys_style_loss() -> None:
    texture = RandomTexture()
    import torch

    pixels = torch.from_numpy(np.stack([np.asarray(image, np.float32) / 255 for image in PICTURES[:2]]))
    layers = texture.maps(pixels.permute(0, 3, 1, 2))
    expected = 0.0
    for maps in layers:  # 1 / (4 N² M²) Σ (G − A)², the mean over layers
        flat = maps.double().reshape(2, maps.shape[1], -1)
        gram = flat @ flat.transpose(1, 2)
        expected += float(((gram[0] - gram[1]) ** 2).sum()) / (4 * flat.shape[1] ** 2 * flat.shape[2] ** 2)
    vectors = texture.grams(PICTURES[:2]).astype(np.float64)
    assert ((vectors[0] - vectors[1]) ** 2).sum() == pytest.approx(expected / len(layers), rel=1e-4)


def test_networks_that_are_not_here_say_where_to_put_them(store: Store) -> None:
    for load in (lambda: texture_network("vgg19"), lambda: load_features(store, "inception", device="cpu")):
        with pytest.raises(WeightsError, match="are not at"):
            load()
    with pytest.raises(UnknownNameError):
        texture_network("vgg")
    with pytest.raises(UsageError, match="no embedding"):
        load_features(store, "technical", device="cpu")


def test_inceptions_layers_are_torchvisions_but_for_the_pooling() -> None:
    import torch
    from torchvision.models import Inception3

    torch.manual_seed(0)
    ours = inception().eval()
    names = set(ours.state_dict())
    theirs = Inception3(num_classes=1008, aux_logits=False, init_weights=False).eval()
    assert names == {name for name in theirs.state_dict() if not name.startswith("fc.")}
    # A picture of one colour has no edge for padding to show at, but at the border.
    block, other = ours.Mixed_5b, theirs.Mixed_5b
    other.load_state_dict(block.state_dict())
    flat = torch.rand(1, 192, 1, 1).expand(1, 192, 9, 9)
    with torch.no_grad():
        mine, torchs = block(flat), other(flat)
    pooled = slice(-32, None)
    assert torch.allclose(mine[..., 4, 4], torchs[..., 4, 4], atol=1e-5)
    assert not torch.allclose(mine[:, pooled, 0, 0], torchs[:, pooled, 0, 0], atol=1e-5)
    assert torch.allclose(mine[:, pooled, 0, 0], mine[:, pooled, 4, 4], atol=1e-5)


def test_a_study_trains_each_arm_measures_it_and_writes_what_came_out(
    store: Store, tiny_model: Path, tmp_path: Path
) -> None:
    paint = style("sketch")
    couples = [
        Couple(prompt, Image.fromarray(paint(np.asarray(image))), image)
        for prompt, image in zip(PROMPTS, PICTURES, strict=True)
    ]
    out = tmp_path / "out"
    write_style_set(out / "set", couples, style=paint.id, text=paint.text, source="test", held_out=0.3)
    file = tmp_path / "study.yaml"
    file.write_text(
        f"name: small\nstyle: sketch\nseeds: [0]\n"
        f"train: {{model: {tiny_model}, steps: 1, batch: 2, warmup: 0, device: cpu}}\n"
        "arms: [{name: sft, train: {method: sft}}, {name: dpo, after: sft, labels: random}]\n"
        "measure: {images_per_prompt: 1, inference_steps: 1}\n"
    )
    said = CliRunner().invoke(app, ["style", "study", str(file), "--out", str(out)])
    assert said.exit_code == 0, said.output
    again = run_style_study(store, load_style_study(file), out)
    dpo = again["arms"][1]
    assert (dpo["method"], dpo["after"], dpo["labels"]) == ("dpo", "sft", "random")
    assert set(dpo["measures"]) == {"fid", "kid", "cmmd", "gram", "text", "prompt"}
    assert again["fixed"]["references"]["fid"]["value"] == pytest.approx(0, abs=1e-9)
    assert again["fixed"]["originals"]["gram"]["value"] > 0
    write_report(tmp_path / "again", again)
    for name in ("table.csv", "result.json", "fid.svg", "gram.svg"):
        assert (tmp_path / "again" / name).read_text() == (out / name).read_text()
    run = dpo["runs"]["0"]
    said = CliRunner().invoke(
        app, ["style", "measure", str(out / "set"), run, "--features", "clip-toy", "--steps", "1", "--device", "cpu"]
    )
    assert said.exit_code == 0 and "originals" in said.output, said.output


def test_a_study_that_cannot_run_is_told_before_it_begins(tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    head = "name: small\nstyle: sketch\n"
    for arms, said in (
        ("[{name: a, after: b}]", "no arm before"),
        ("[{name: a}, {name: a}]", "two arms"),
        ("[{name: a, train: {steeps: 3}}]", "steeps"),
        ("[]", "arms"),
    ):
        file.write_text(f"{head}arms: {arms}\n")
        with pytest.raises(UsageError, match=said):
            load_style_study(file)


def test_distances_of_features_do_not_depend_on_the_order_of_pictures() -> None:
    vectors = np.random.default_rng(0).normal(size=(20, 4))
    assert frechet(vectors, vectors[::-1] + 1) == pytest.approx(frechet(vectors[::-1], vectors + 1))
