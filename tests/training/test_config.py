"""Training configs: files, settings on top of them, and one clear line for what does not fit."""

from pathlib import Path

import pytest

from ranking.errors import UsageError
from training.config import TrainConfig, load_config
from training.methods.options import Dpo


def test_settings_are_laid_over_the_file_and_reach_into_blocks(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("steps: 10\nmethod: {beta: 5000}\nevaluation: {images_per_prompt: 2}\n")
    config = load_config(file, ["steps=20", "evaluation.guidance=1.5", "device=cpu"])
    assert (config.steps, config.method, config.device) == (20, Dpo(beta=5000), "cpu")
    assert config.evaluation is not None
    assert (config.evaluation.images_per_prompt, config.evaluation.guidance) == (2, 1.5)


def test_an_empty_file_gives_the_defaults(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("")
    assert load_config(tmp_path / "config.yaml") == TrainConfig()


@pytest.mark.parametrize(
    ("text", "settings", "expected"),
    [
        ("stepz: 3", [], "stepz"),
        ("steps: -1", [], "steps"),
        ("seed: 18446744073709551616", [], "seed"),
        ("- a list", [], "not a mapping"),
        ("{", [], "not YAML"),
        ("steps: [1\nfoo: bar", [], r"not YAML \(line 2, column 4"),
        ("steps: 3", ["steps=[1"], r"'steps=\[1' is not YAML"),
        ("steps: 3", ["steps"], "key=value"),
        ("steps: 3", ["steps.more=1"], "not a block"),
        ("method: magic", [], "method"),
    ],
)
def test_what_does_not_fit_is_named_in_one_line(tmp_path: Path, text: str, settings: list[str], expected: str) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(UsageError, match=expected) as caught:
        load_config(tmp_path / "config.yaml", settings)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"\xff\x00")
    with pytest.raises(UsageError, match=r"model\.safetensors is not text"):
        load_config(tmp_path / "model.safetensors")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"absent\.yaml"):
        load_config(tmp_path / "absent.yaml")
