"""Wheels that hold what a model was trained with come by pip, from whichever index it is set up for."""

import zipfile
from pathlib import Path

import pytest

from ranking.errors import UsageError
from ranking.names import sha256_file
from workers.scorers.files.places import PackageFile, place_of
from workers.scorers.files.pull import fetch, survey
from workers.scorers.files.wire import PullError
from workers.scorers.weights import Asset, located


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A wheel in a folder that pip is told to look into, and nowhere else."""
    path = tmp_path / "index" / "worded-1.0-py3-none-any.whl"
    path.parent.mkdir()
    info = "worded-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("worded/words.py", "QUESTION = 'Is it?'\n")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: worded\nVersion: 1.0\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: us\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PAIRSIEVE_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(path.parent))
    return path


def test_a_wheel_arrives_as_it_is_and_a_second_pull_has_nothing_to_do(wheel: Path) -> None:
    asset = Asset("mine/worded.whl", "pypi:worded==1.0", sha256=sha256_file(wheel), bytes=wheel.stat().st_size)
    (need,) = survey([asset]).needs
    came: list[int] = []
    assert fetch(need, came.append).read_bytes() == wheel.read_bytes() and came == [wheel.stat().st_size]
    assert survey([asset]).here == [asset]


def test_other_bytes_than_the_pin_says_are_refused_and_nothing_is_left(wheel: Path) -> None:
    asset = Asset("mine/worded.whl", "pypi:worded==1.0", sha256="0" * 64)
    (need,) = survey([asset]).needs
    with pytest.raises(PullError, match="not 000000000000"):
        fetch(need, lambda _: None)
    assert located(asset) is None


def test_what_pip_cannot_find_is_told_in_its_words(wheel: Path) -> None:
    (need,) = survey([Asset("mine/other.whl", "pypi:worded==9.9")]).needs
    with pytest.raises(PullError, match=r"pip says: ERROR: No matching distribution found for worded==9\.9"):
        fetch(need, lambda _: None)


def test_only_one_version_of_a_package_is_an_address() -> None:
    assert place_of("pypi:worded==1.0") == PackageFile("worded==1.0")
    for wrong in ("pypi:worded", "pypi:worded>=1", "pypi:--index-url==1", "pypi:a==1 b"):
        with pytest.raises(UsageError):
            place_of(wrong)
