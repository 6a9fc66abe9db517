"""Wording read from an authors' package without running it."""

from pathlib import Path

import pytest
import tiny_vlm

from workers.scorers.wording import WordingError, constants

MEMBER = "theirs/words.py"


def read(tmp_path: Path, source: str, *names: str) -> dict[str, str]:
    return constants(tiny_vlm.write_wheel(tmp_path / "theirs-1.0-py3-none-any.whl", MEMBER, source), MEMBER, names)


def test_constants_are_read_to_the_character_and_nothing_runs(tmp_path: Path) -> None:
    source = 'raise SystemExit("run")\nA = """\n  two lines\\t“x”\n\n"""\nB = "a" "b"\nC = A.format()\n'
    assert read(tmp_path, source, "A", "B") == {"A": "\n  two lines\t“x”\n\n", "B": "ab"}


def test_the_last_assignment_counts_as_it_would_in_python(tmp_path: Path) -> None:
    assert read(tmp_path, 'A = "first"\nif True:\n    A = "not at the top"\nA = "last"\n', "A") == {"A": "last"}


@pytest.mark.parametrize("source", ["", "A = 3", 'A = "x".upper()', 'def f():\n    A = "x"\n'])
def test_what_is_no_literal_text_is_refused(source: str, tmp_path: Path) -> None:
    with pytest.raises(WordingError, match=r"does not say A in theirs/words\.py; fetch it again"):
        read(tmp_path, source, "A")


def test_what_is_no_such_package_is_refused_in_one_line(tmp_path: Path) -> None:
    wheel = tiny_vlm.write_wheel(tmp_path / "a.whl", "other.py", "A = 'x'")
    torn = tmp_path / "torn.whl"
    torn.write_bytes(wheel.read_bytes()[:40])
    broken = tiny_vlm.write_wheel(tmp_path / "b.whl", MEMBER, "A = (")
    for path in (wheel, torn, broken):
        with pytest.raises(WordingError, match=r"has no readable module theirs/words\.py") as raised:
            constants(path, MEMBER, ("A",))
        assert "\n" not in str(raised.value)
    with pytest.raises(WordingError, match="is larger than"):
        read(tmp_path, "A = 'x'\n" + "#" * 2**20, "A")
