"""Where an evaluation's prompts come from."""

from pathlib import Path

import pytest

from ranking.errors import UsageError
from training.evaluation.prompts import read_prompts


def test_prompts_come_from_a_file_without_blanks_and_repeats(tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("one\n  \ntwo \none\n")
    assert read_prompts(str(tmp_path / "p.txt")) == ["one", "two"]
    (tmp_path / "empty.txt").write_text("\n")
    (tmp_path / "picture.txt").write_bytes(b"\xff\x00")
    for name in ("empty.txt", "absent.txt", "picture.txt"):
        with pytest.raises(UsageError, match=name.split(".", maxsplit=1)[0]):
            read_prompts(str(tmp_path / name))
