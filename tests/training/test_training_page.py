"""docs/training.md, held to the config it tells of."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel

from ranking.errors import UsageError
from training.config import TrainConfig, load_config, preset_names

PAGE = (Path(__file__).parents[2] / "docs" / "training.md").read_text()


def keys(block: type[BaseModel], above: str = "") -> Iterator[str]:
    """Every key of a config; a method's options are told elsewhere."""
    for name, field in block.model_fields.items():
        path = above + name
        kinds = (field.annotation, *get_args(field.annotation))
        blocks = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if name == "method" or not blocks:
            yield path
        else:
            yield from keys(blocks[0], f"{path}.")


@pytest.mark.parametrize("key", list(keys(TrainConfig)))
def test_the_page_has_every_key(key: str) -> None:
    assert re.search(rf"^\| `{re.escape(key)}` \| .+ \| .*\|$", PAGE, re.MULTILINE)


@pytest.mark.parametrize("name", preset_names())
def test_the_page_has_every_preset_and_each_is_a_config(name: str) -> None:
    assert f"| `{name}` |" in PAGE
    load_config(None, preset=name)


def test_presets_have_the_rate_of_the_authors_code_at_any_effective_batch() -> None:
    # 1e-8 for each pair of a step: 2.048e-5 at 2048 (the launchers of SalesforceAIResearch/DiffusionDPO).
    for name in ("sd15-dpo", "sdxl-dpo"):
        whole = load_config(None, preset=name)
        assert (whole.effective_batch, whole.peak_learning_rate) == (2048, pytest.approx(2.048e-5))
        part = load_config(None, ["accumulate=16", "batch=4", "processes=2"], preset=name)
        assert part.peak_learning_rate == pytest.approx(1e-8 * 4 * 16 * 2)


def test_a_rate_may_grow_with_the_root_of_the_batch_or_not_at_all() -> None:
    settings = ["batch=32", "learning_rate=1e-4"]
    assert load_config(None, settings).peak_learning_rate == 1e-4
    rooted = [*settings, "scale_learning_rate=sqrt", "reference_batch=128"]
    assert load_config(None, rooted).peak_learning_rate == pytest.approx(0.5e-4)


def test_a_method_of_another_name_takes_none_of_a_presets_options() -> None:
    assert load_config(None, preset="sd15-dpo").method.beta == 5000  # type: ignore[union-attr]
    assert load_config(None, ["method=ipo"], preset="sd15-dpo").method.beta == 2000  # type: ignore[union-attr]
    assert load_config(None, ["method.beta=100"], preset="sd15-dpo").method.name == "dpo"


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (["data.crop=random"], "cache.latents"),
        (["method=sft", "cache.reference_draws=4"], "no reference"),
        (["method=dspo", "cache.reference_draws=4"], "needs the reference itself"),
        (["reference_batch=64"], "scale_learning_rate"),
        (["processes=2", "device=cuda:1"], "one each"),
        (["cache.latent=false"], "did you mean cache.latents"),
    ],
)
def test_what_does_not_go_together_is_one_line(settings: list[str], expected: str) -> None:
    with pytest.raises(UsageError, match=expected) as caught:
        load_config(None, settings)
    assert "\n" not in str(caught.value)
