"""Packages of scorers: what is wrong with one is told in a line, and harms no other."""

import importlib.metadata
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ranking.errors import PairsieveError, UnknownNameError
from workers.scorers import registry
from workers.scorers.base import ScoreBatch, ScorerSpec
from workers.scorers.installed import installed
from workers.scorers.registry import choose, load_committee
from workers.scorers.runtime import Runtime

HEADER = "from workers.scorers.base import ScorerSpec, View\nfrom workers.scorers.weights import Asset\n"


class Packages:
    """Installs packages on a folder of the path, each with an entry point."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(self, name: str, code: str, *, value: str | None = None) -> None:
        (self.folder / f"{name}.py").write_text(HEADER + code)
        info = self.folder / f"{name}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
        (info / "entry_points.txt").write_text(f"[pairsieve.scorers]\n{name} = {value or f'{name}:SPECS'}\n")


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Packages]:
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    installed.cache_clear()
    yield Packages(tmp_path)
    installed.cache_clear()
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]
    importlib.invalidate_caches()


def spec(name: str = "mine", **more: str) -> str:
    """The source text of a spec."""
    fields = {"summary": "'a test'", "factory": f"'{__name__}:width'", "views": f"(View('{__name__}:across'),)", **more}
    return f"ScorerSpec({name!r}, {', '.join(f'{key}={value}' for key, value in fields.items())})"


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("import nowhere_at_all\nSPECS = ()", "cannot be imported: ModuleNotFoundError: No module named 'nowhere_at_"),
        ("raise RuntimeError('two\\nlines')", "cannot be imported: RuntimeError: two lines"),
        ("SPEC = ()", "cannot be imported: AttributeError"),
        ("SPECS = 7", "gives a int, not a sequence of ScorerSpec"),
        ("SPECS = 'abc'", "gives a str, not a sequence"),
        ("SPECS = ('mine',)", "lists a str, not a ScorerSpec"),
        (f"SPECS = ({spec('Mine!')},)", "names a scorer badly: scorer name 'Mine!' is not allowed"),
        (f"SPECS = ({spec('image-facts')},)", "a name kept for"),
        (f"SPECS = ({spec('embedding-clip-l14')},)", "a name kept for"),
        (f"SPECS = ({spec(factory=repr('nowhere.at.all:make'))},)", "no module 'nowhere' is installed"),
        (f"SPECS = ({spec(factory=repr('bad'))},)", "with 'bad' where 'module:function' belongs"),
        (f"SPECS = ({spec(views='(len,)')},)", "where 'module:function' belongs"),
        (f"SPECS = ({spec(precision=repr('int4'))},)", "the precision 'int4'"),
        (f"SPECS = ({spec(assets='''(Asset('../x'),)''')},)", "with a bad file: '../x'"),
        (f"SPECS = ({spec(assets='''(Asset('x', source='ftp://x/y'),)''')},)", "with a bad file: 'ftp://x/y'"),
    ],
)
def test_a_broken_package_is_one_line_and_takes_no_other_scorer_down(
    packages: Packages, code: str, problem: str
) -> None:
    packages.add("broken", code)
    packages.add("sound", f"SPECS = [{spec('sound')}]")
    found = installed()
    assert {"technical", "clip-toy", "sound"} <= set(found.specs)
    (told,) = found.problems
    assert told.text.startswith("the package broken 1.2 (entry point broken = broken:SPECS) ")
    assert problem in told.text
    assert "\n" not in told.text


def test_a_bad_scorer_of_a_package_leaves_its_others_and_says_why_when_it_is_asked_for(packages: Packages) -> None:
    packages.add("mixed", f"SPECS = [{spec('good')}, {spec('odd', precision=repr('int4'))}]")
    assert "good" in registry.specs()
    with pytest.raises(PairsieveError, match=r"mixed 1\.2 .* 'odd' with the precision 'int4'; repair or uninstall"):
        choose("odd")
    with pytest.raises(UnknownNameError, match="good"):
        choose("goood")


def test_a_name_that_is_unknown_may_be_that_of_a_package_that_cannot_be_read(packages: Packages) -> None:
    packages.add("broken", "import nowhere_at_all\nSPECS = ()")
    with pytest.raises(
        UnknownNameError, match=r"did you mean .*; not used: the package broken 1\.2 .* cannot be imported"
    ):
        choose("technica")


def test_a_package_that_takes_a_name_of_ours_does_not_get_it(packages: Packages) -> None:
    ours = choose("technical").scorer_id, choose("clip-toy").scorer_id
    installed.cache_clear()
    packages.add("rival", f"SPECS = [{spec('technical')}, {spec('clip-toy')}]")
    assert (choose("technical").scorer_id, choose("clip-toy").scorer_id) == ours
    assert [problem.code for problem in installed().problems] == ["scorer-name-taken"] * 2


def test_of_two_packages_that_take_one_name_neither_gets_it(packages: Packages) -> None:
    for name in ("one", "two"):
        packages.add(name, f"SPECS = [{spec('same')}, {spec(f'only-{name}')}]")
    assert {"only-one", "only-two"} <= set(registry.specs())
    with pytest.raises(
        PairsieveError, match=r"one 1\.2 .* and the package two 1\.2 .* both name a scorer 'same'"
    ) as caught:
        choose("same")
    assert caught.value.code == "scorer-name-taken"


@pytest.mark.parametrize("factory", [f"{__name__}:gone", f"{__name__}.gone:make"])
def test_a_factory_that_does_not_exist_is_one_line(packages: Packages, factory: str) -> None:
    packages.add("hollow", f"SPECS = [{spec('hollow', factory=repr(factory))}]")
    with pytest.raises(
        PairsieveError, match=rf"scorer hollow cannot be loaded from {factory}: .*; install what"
    ) as caught:
        load_committee(["hollow"])
    assert "\n" not in str(caught.value)


def test_a_third_partys_scorer_is_one_spec_and_one_function(packages: Packages) -> None:
    packages.add("third", f"SPECS = [{spec('width')}]")
    committee = load_committee(["width"])
    scores = committee.score_pictures([Image.new("RGB", (5, 2)), Image.new("RGB", (9, 2))], ["a", "b"])
    np.testing.assert_array_equal(scores[committee.scorer_ids["width"]], [5, 9])


def across(image: Image.Image) -> np.ndarray:
    return np.array(image.width, np.float32)


def width(spec: ScorerSpec, runtime: Runtime) -> ScoreBatch:
    del runtime
    return lambda batch: np.stack(batch.view(spec.views[0]))[batch.image_of]
