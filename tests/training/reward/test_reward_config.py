"""The config of a reward training: what does not fit is named, what decides the result is its identity."""

from pathlib import Path

import pytest

from ranking.errors import UnknownNameError, UsageError
from training.reward.config import RewardConfig, load_reward_config, parse_reward_config


def test_a_config_with_an_unknown_key_gets_the_near_names() -> None:
    with pytest.raises(UnknownNameError, match="did you mean learning_rate"):
        parse_reward_config({"learning_rat": 1})
    with pytest.raises(UsageError, match="steps in the reward config does not fit"):
        parse_reward_config({"steps": 0})
    with pytest.raises(UsageError, match="leave less than a tenth"):
        parse_reward_config({"validation": 0.5, "test": 0.45})
    assert parse_reward_config({"learning_rate": "1e-6"}).rate == 1e-6
    assert RewardConfig(device="cpu").identity() == RewardConfig(device="cuda").identity()


def test_settings_lie_over_the_file(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("kind: clip\nsteps: 5\n")
    found = load_reward_config(tmp_path / "c.yaml", ["steps=7", "where={field: is_tie, op: eq, value: false}"])
    assert (found.kind, found.steps, found.rate) == ("clip", 7, 1e-6) and found.where is not None
    for wrong, line in (("steps", "not key=value"), ("step=1", "did you mean steps"), ("steps=[", "not YAML")):
        with pytest.raises(UsageError, match=line):
            load_reward_config(None, [wrong])
    with pytest.raises(UsageError, match="cannot be read"):
        load_reward_config(tmp_path / "absent.yaml")
    (tmp_path / "c.yaml").write_text("- 1\n")
    with pytest.raises(UsageError, match="not a mapping"):
        load_reward_config(tmp_path / "c.yaml")


def test_every_key_is_documented_with_its_default() -> None:
    page = (Path(__file__).parents[3] / "docs" / "reward.md").read_text(encoding="utf-8")
    for name, field in RewardConfig.model_fields.items():
        default = {None: "–", True: "true", False: "false"}.get(field.default, field.default)
        shown = field.default if isinstance(field.default, float | int) and field.default in (0, 1) else default
        shown = default if isinstance(field.default, bool) else shown
        assert f"| `{name}` | {shown} | {field.description} |" in page
