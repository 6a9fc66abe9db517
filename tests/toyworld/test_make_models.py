"""The script that makes the models, run from nothing to the card with a handful of steps."""

import json
from functools import partial
from pathlib import Path

import pytest

from training.toyworld import make_models as script
from training.toyworld.making import clip, denoiser, preference, vae


@pytest.fixture
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few hundred pictures and two or three steps for each model; the code is the one that ships."""
    for module in (vae, clip, denoiser):
        monkeypatch.setattr(module, "POOL", 300)
    monkeypatch.setattr(vae, "measure_vae", partial(vae.measure_vae, pairs=60))
    monkeypatch.setattr(preference, "measure_preference", partial(preference.measure_preference, pairs=60))
    monkeypatch.setattr(denoiser, "measure_pipeline", partial(denoiser.measure_pipeline, images_per_prompt=1))
    monkeypatch.setattr(script, "train_vae", partial(vae.train_vae, steps=3, batch=4))
    monkeypatch.setattr(script, "train_clip", partial(clip.train_clip, steps=3, batch=8))
    monkeypatch.setattr(script, "train_aesthetic", partial(clip.train_aesthetic, ratings=200))
    monkeypatch.setattr(script, "train_preference", partial(preference.train_preference, pairs=64, steps=2, batch=8))
    monkeypatch.setattr(script, "train_denoiser", partial(denoiser.train_denoiser, steps=2, batch=8))


@pytest.mark.usefixtures("few_steps")
@pytest.mark.filterwarnings("ignore::UserWarning")  # diffusers and torch on half precision, which is what we ask for
def test_the_script_makes_every_file_that_ships_and_names_no_folder_of_this_machine(tmp_path: Path) -> None:
    script.make_models(tmp_path / "weights")
    made = {path.relative_to(tmp_path / "weights") for path in (tmp_path / "weights").rglob("*") if path.is_file()}
    shipped = {path.relative_to(script.WEIGHTS) for path in script.WEIGHTS.rglob("*") if path.is_file()}
    assert made == shipped
    for path in made:
        if path.suffix in (".json", ".md"):
            assert str(tmp_path) not in (tmp_path / "weights" / path).read_text(encoding="utf-8")
    measured = json.loads((tmp_path / "weights" / "measured.json").read_text())
    assert set(measured) == {*script.STAGES, "made_with"}
    # One model can be made again without touching the others.
    before = (tmp_path / "weights" / "clip" / "open_clip_model.safetensors").read_bytes()
    script.make_models(tmp_path / "weights", ("aesthetic",))
    assert (tmp_path / "weights" / "clip" / "open_clip_model.safetensors").read_bytes() == before
