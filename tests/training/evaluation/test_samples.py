"""Drawing: once, in batches that fit, and on from where it was interrupted."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ranking.store.blobs import Store
from training.blocks import EvaluationConfig
from training.evaluation.samples import draw, read_samples, samples_key
from training.evaluation.sheet import contact_sheet
from training.models.base import DiffusionModel
from training.models.load import load_model

SETTINGS = EvaluationConfig(images_per_prompt=3, inference_steps=2, judges=("technical",))
PROMPTS = ["a cat", "a dog"]


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> DiffusionModel:
    return load_model(str(tiny_model), device="cpu")


class Recorder:
    """Hears what is drawn; `fail` raises at the given call."""

    def __init__(self, model: DiffusionModel, fail: dict[int, BaseException]) -> None:
        self.sizes: list[int] = []
        self.seeds: list[int] = []
        self.fail = fail
        self._sample = model.sample

    def __call__(self, denoiser: Any, prompts: list[str], seeds: list[int], **options: Any) -> Any:
        self.sizes.append(len(prompts))
        if len(self.sizes) - 1 in self.fail:
            raise self.fail[len(self.sizes) - 1]
        self.seeds += seeds
        return self._sample(denoiser, prompts, seeds, **options)


def recorded(
    model: DiffusionModel, monkeypatch: pytest.MonkeyPatch, fail: dict[int, BaseException] | None = None
) -> Recorder:
    recorder = Recorder(model, fail or {})
    monkeypatch.setattr(model, "sample", recorder)
    return recorder


def test_a_drawing_that_was_killed_costs_the_open_batch_only(
    store: Store, model: DiffusionModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = recorded(model, monkeypatch, {2: SystemExit()})
    with pytest.raises(SystemExit):
        draw(store, model, None, PROMPTS, SETTINGS, batch=2)
    assert first.seeds == [1234, 1235, 1236, 1237]
    assert not store.exists(samples_key(model, None, PROMPTS, SETTINGS))
    monkeypatch.undo()
    second = recorded(model, monkeypatch)
    told: list[tuple[int, int]] = []
    found = draw(store, model, None, PROMPTS, SETTINGS, batch=2, on_images=lambda *each: told.append(each))
    assert second.seeds == [1238, 1239] and told == [(4, 6), (6, 6)]
    assert found.prompts == ["a cat"] * 3 + ["a dog"] * 3 and found.seeds == list(range(1234, 1240))
    assert list(store.tmp().iterdir()) == []
    # In the order of prompts and seeds, whichever process drew them.
    pixels = model.sample(model.denoiser, ["a dog"], [1237], steps=2, guidance=3.0)[0].astype(int)
    assert np.abs(np.asarray(found.images[3]).astype(int) - pixels).max() <= 1
    assert read_samples(store, found.key).seeds == found.seeds


def test_another_process_that_draws_the_same_and_is_first_does_no_harm(
    store: Store, model: DiffusionModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample, found = model.sample, []

    def overtaken(*args: Any, **options: Any) -> Any:
        if not found:
            found.append(None)
            found[0] = draw(store, model, None, PROMPTS, SETTINGS, batch=6)
        return sample(*args, **options)

    monkeypatch.setattr(model, "sample", overtaken)
    mine = draw(store, model, None, PROMPTS, SETTINGS, batch=4)
    assert mine.seeds == found[0].seeds and mine.key == found[0].key


def test_a_batch_that_does_not_fit_is_halved_and_drawn_again(
    store: Store, model: DiffusionModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = recorded(model, monkeypatch, {0: RuntimeError("CUDA out of memory"), 1: MemoryError()})
    assert len(draw(store, model, None, PROMPTS, SETTINGS, batch=4).images) == 6
    assert recorder.sizes == [4, 2, *[1] * 6]


def test_another_failure_or_one_image_that_does_not_fit_is_told_as_it_is(
    store: Store, model: DiffusionModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded(model, monkeypatch, {0: RuntimeError("shapes differ")})
    with pytest.raises(RuntimeError, match="shapes differ"):
        draw(store, model, None, PROMPTS, SETTINGS, batch=4)
    monkeypatch.undo()
    recorded(model, monkeypatch, {0: RuntimeError("CUDA out of memory")})
    with pytest.raises(RuntimeError, match="out of memory"):
        draw(store, model, None, PROMPTS, SETTINGS, batch=1)


def test_a_contact_sheet_has_the_models_one_above_the_other(store: Store, model: DiffusionModel) -> None:
    drawn = draw(store, model, None, PROMPTS, SETTINGS)
    sheet = np.asarray(contact_sheet([("base", drawn), ("run", drawn)], side=32, columns=2))
    top = np.asarray(drawn.images[0])
    rows = [
        y
        for y in range(sheet.shape[0] - 32)
        for x in range(sheet.shape[1] - 32)
        if np.array_equal(sheet[y, x, :], top[0, 0]) and np.array_equal(sheet[y : y + 32, x : x + 32], top)
    ]
    assert len(rows) == 2 and rows[1] - rows[0] == 36
