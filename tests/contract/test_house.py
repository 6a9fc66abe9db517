"""The rules of the house that a reviewer should not have to check by eye."""

import ast
import subprocess
import sys
import tomllib
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from ranking.metrics.registry import metrics
from ranking.settings import Settings
from workers.scorers.registry import specs

ROOT = Path(__file__).parents[2]
FLOORS = ["ranking", "workers", "training", "service"]
MODULES = sorted(path for floor in FLOORS for path in (ROOT / floor).rglob("*.py"))


def imported(path: Path) -> set[str]:
    """The top-level packages that a module imports, inside functions too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_each_floor_imports_only_from_floors_below(path: Path) -> None:
    floor = FLOORS.index(path.relative_to(ROOT).parts[0])
    assert not imported(path) & set(FLOORS[floor + 1 :])


def rooms_imported(floor: str) -> dict[str, set[str]]:
    """By room of a floor (a package, or a module of its own) the other rooms that it imports, inside functions too."""
    found: dict[str, set[str]] = {}
    for path in (ROOT / floor).rglob("*.py"):
        room = path.relative_to(ROOT / floor).with_suffix("").parts[0]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names: list[str] = []
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            others = {name.split(".")[1] for name in names if name.startswith(f"{floor}.")} - {room}
            found.setdefault(room, set()).update(others)
    return found


@pytest.mark.parametrize("floor", ["workers", "training"])
def test_rooms_of_a_floor_import_each_other_in_one_direction_only(floor: str) -> None:
    try:
        TopologicalSorter(rooms_imported(floor)).prepare()
    except CycleError as error:
        pytest.fail(f"a ring of imports in {floor}/, each by the next: {' ← '.join(error.args[1])}")


def test_the_ground_floor_needs_no_torch_no_web_framework_and_no_celery() -> None:
    heavy = {"torch", "open_clip", "transformers", "diffusers", "fastapi", "starlette", "celery", "typer"}
    for path in (ROOT / "ranking").rglob("*.py"):
        assert not imported(path) & heavy, path


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_says_what_it_is_for_and_stays_readable(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert ast.get_docstring(ast.parse(text)), "a module opens with what it is for"
    assert len(text.splitlines()) <= 400


def test_nothing_is_unpickled_and_no_remote_code_is_trusted() -> None:
    forbidden = ("import pickle", "joblib", "import dill", "trust_remote_code=True", "allow_pickle=True", "yaml.load(")
    for path in MODULES:
        text = path.read_text(encoding="utf-8")
        assert not [word for word in forbidden if word in text], path


def printed(code: str) -> list[str]:
    """The lines that a fresh process prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip().splitlines()


def test_help_is_quick_because_it_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom service import cli\nsys.argv = ['pairsieve', '--help']\n"
        "try: cli.main()\nexcept SystemExit: pass\n"
        "print(sorted({'torch', 'duckdb', 'pyarrow', 'fastapi', 'celery', 'numpy'} & set(sys.modules)))"
    )
    assert printed(code)[-1] == "[]"


def test_a_run_that_is_done_is_told_without_loading_torch() -> None:
    code = (
        "import sys\nfrom service import cli, runs\nfrom training import config, processes\n"
        "from training.evaluation import records\n"
        "print('torch' in sys.modules)"
    )
    assert printed(code) == ["False"]


def test_every_scorer_metric_and_setting_is_documented() -> None:
    scorers = (ROOT / "docs" / "scorers.md").read_text(encoding="utf-8")
    assert [name for name in specs() if f"`{name}`" not in scorers] == []
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [name for name in metrics() if f"`{name}`" not in readme] == []
    settings = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert [name for name in Settings.model_fields if f"`PAIRSIEVE_{name.upper()}`" not in settings] == []


def test_pages_made_from_code_are_current() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "generate_docs.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_the_changelog_knows_the_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_constraints_name_no_index_and_pin_everything() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and line[0] != "#"]
    assert all("==" in line and "://" not in line and "@" not in line for line in lines)
    pinned = {line.partition("==")[0].lower().replace("_", "-") for line in lines}
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    names = {word.split(">")[0].split("<")[0].split("=")[0].lower().replace("_", "-") for word in wanted}
    assert names <= pinned
