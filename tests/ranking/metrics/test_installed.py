"""Packages of metrics: what is wrong with one is told in a line, and harms no other."""

import importlib.metadata
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from framed import close, measured

from ranking.errors import PairsieveError, UnknownNameError
from ranking.metrics.base import Metric
from ranking.metrics.installed import installed
from ranking.metrics.registry import known_metric, metrics

DOCUMENT = Path(__file__).parents[3] / "docs" / "metrics.md"
HEADER = "from ranking.metrics.base import Metric, Options, Uses\n"
PAIRS = [
    {"pair_id": "1", "prompt_id": "p", "u0": "a", "u1": "b", "s.0": 3.0, "s.1": 1.0, "winner": 0},
    {"pair_id": "2", "prompt_id": "p", "u0": "c", "u1": "d", "s.0": 1.0, "s.1": 3.0, "winner": 0},
]


class Packages:
    """Installs packages on a folder of the path, each with an entry point."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(self, name: str, code: str) -> None:
        (self.folder / f"{name}.py").write_text(HEADER + code)
        info = self.folder / f"{name}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
        (info / "entry_points.txt").write_text(f"[pairsieve.metrics]\n{name} = {name}:METRICS\n")


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


def metric(name: str, **more: str) -> str:
    """The source text of a metric."""
    texts = {key: repr("a test") for key in ("formula", "range", "source", "nulls")}
    parts = texts | {"provenance": "'ours'", "options": "Options", "expression": "lambda frame, options: '7'"} | more
    return f"Metric({name!r}, {', '.join(f'{key}={value}' for key, value in parts.items())})"


def test_the_documented_example_works_as_printed(packages: Packages) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    packages.add("mine", code)
    # Scores 3 1 1 3: deviation 1, z-gaps 2 and −2.
    assert measured({"name": "bounded-margin", "scorer": "s", "most": 1.5}, PAIRS) == close([1.5, -2.0])
    assert "bounded-margin" in metrics()


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        (
            "import nowhere_at_all\nMETRICS = ()",
            "cannot be imported: ModuleNotFoundError: No module named 'nowhere_at_",
        ),
        ("raise RuntimeError('two\\nlines')", "cannot be imported: RuntimeError: two lines"),
        ("METRICS = 7", "gives a int, not a sequence of Metric"),
        ("METRICS = ('mine',)", "lists a str, not a Metric"),
        (f"METRICS = ({metric('Mine!')},)", "names a metric badly"),
        (f"METRICS = ({metric('mine', formula=repr(''))},)", "has a metric 'mine' without a formula"),
        (f"METRICS = ({metric('mine', provenance=repr('rumour'))},)", "with the provenance 'rumour'"),
        (f"METRICS = ({metric('mine', options='dict')},)", "whose options are no subclass of Options"),
        (f"METRICS = ({metric('mine', expression='7')},)", "whose expression or uses is no function"),
    ],
)
def test_a_broken_package_is_one_line_and_takes_no_other_metric_down(
    packages: Packages, code: str, problem: str
) -> None:
    packages.add("broken", code)
    packages.add("sound", f"METRICS = [{metric('seven')}]")
    assert measured({"name": "seven"}, PAIRS) == [7.0, 7.0]
    assert "qsd" in metrics()
    (told,) = installed().problems
    assert told.text.startswith("the package broken 1.2 (entry point broken = broken:METRICS) ")
    assert problem in told.text and "\n" not in told.text


def test_a_package_does_not_get_a_name_of_ours_and_two_do_not_get_one_name(packages: Packages) -> None:
    ours = known_metric("qsd")
    installed.cache_clear()
    packages.add("rival", f"METRICS = [{metric('qsd')}]")
    packages.add("one", f"METRICS = [{metric('same')}]")
    packages.add("two", f"METRICS = [{metric('same')}]")
    assert known_metric("qsd") is ours
    with pytest.raises(PairsieveError, match=r"one 1\.2 .* and the package two 1\.2 .* both name a metric 'same'"):
        known_metric("same")
    assert [problem.code for problem in installed().problems] == ["metric-name-taken"] * 2


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("lambda frame, options: 1 / 0", "ZeroDivisionError: division by zero"),
        ("lambda frame, options: 'pairs.nothing'", "BinderException"),
    ],
)
def test_a_metric_that_fails_says_whose_it_is(packages: Packages, expression: str, reason: str) -> None:
    packages.add("hollow", f"METRICS = [{metric('hollow', expression=expression)}]")
    with pytest.raises(PairsieveError, match=rf"metric hollow of the package hollow 1\.2 .* failed: {reason}"):
        measured({"name": "hollow"}, PAIRS)


def test_what_is_no_number_counts_as_none(packages: Packages) -> None:
    wild = metric(
        "wild", expression="""lambda frame, options: "CASE pair_id WHEN '1' THEN 'NaN'::DOUBLE ELSE 'inf' END" """
    )
    packages.add("wild", f"METRICS = [{wild}]")
    assert measured({"name": "wild"}, PAIRS) == [None, None]


def test_an_unknown_metric_may_be_one_of_a_package_that_cannot_be_read(packages: Packages) -> None:
    packages.add("broken", "import nowhere_at_all\nMETRICS = ()")
    with pytest.raises(UnknownNameError, match=r"not used: the package broken 1\.2 .* cannot be imported"):
        known_metric("marginal")


def test_every_metric_says_what_it_is() -> None:
    for name, each in metrics().items():
        assert isinstance(each, Metric) and each.name == name
        assert each.formula and each.range and each.source and each.nulls
        assert all(option.description for option in each.options.model_fields.values()), name
