"""A grid: one study for every combination of its axes, what they have in common done once."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from command_line import pairsieve

from ranking.errors import UsageError
from ranking.studies import list_studies
from training.study.grid import Grid, load_grid, parse_grid, parse_part, planned, run_grid, table
from training.study.grid_report import grid_csv, grid_page

from .conftest import Toys


def values(**changes: Any) -> dict[str, Any]:
    base = {
        "name": "noise",
        "dataset": "toys",
        "axes": {"seeds": [[0], [1, 2]], "budget.count": [10, 30]},
        "arms": [{"name": "knows", "metric": {"name": "margin", "scorer": "knows"}}],
        "controls": ["all", "random"],
        "judges": ["oracle-labels", "coverage"],
    }
    return base | changes


@pytest.fixture(scope="module")
def done(toys: Toys) -> tuple[Grid, list[dict[str, Any]]]:
    grid = parse_grid(values())
    results = run_grid(toys.store, grid)
    assert results is not None
    return grid, results


def test_there_is_a_study_for_every_combination_the_last_axis_moving_fastest(
    done: tuple[Grid, list[dict[str, Any]]],
) -> None:
    grid, results = done
    assert [tuple(point.at.values()) for point in grid.points] == [([0], 10), ([0], 30), ([1, 2], 10), ([1, 2], 30)]
    assert [result["study"]["budget"] for result in results] == [{"count": 10}, {"count": 30}] * 2
    sizes = {(row["at"]["budget.count"], row["arm"]): row["pairs"] for row in table(grid, results)}
    assert (sizes["10", "knows"], sizes["30", "knows"]) == (10, 30)


def test_what_no_axis_moves_is_one_subset_for_all_points(done: tuple[Grid, list[dict[str, Any]]]) -> None:
    _, results = done
    alls = {result["arms"][1]["subsets"]["0"] for result in results[:2]}
    assert len(alls) == 1
    assert len({result["arms"][0]["subsets"]["0"] for result in results[:2]}) == 2


def test_parts_share_the_work_and_the_last_one_has_all_results(toys: Toys) -> None:
    grid = parse_grid(values(name="parts", seeds=[0], axes={"budget.count": [10, 30]}))
    assert run_grid(toys.store, grid, part=(0, 2)) is None
    assert [filled for _, filled, _ in planned(toys.store, grid)] == [3, 0]
    rest = run_grid(toys.store, grid, part=(1, 2))
    assert rest is not None and len(rest) == 2
    assert run_grid(toys.store, grid) == rest
    assert len([each for each in list_studies(toys.store) if each.name.startswith("parts-")]) == 2


def test_the_page_and_the_table_have_every_point_and_arm(done: tuple[Grid, list[dict[str, Any]]]) -> None:
    grid, results = done
    page = grid_page(grid, results)
    assert page.count("<svg") == 2 * 2  # a panel for each list of seeds, by each of two judges
    rows = list(csv.DictReader(io.StringIO(grid_csv(grid, results))))
    assert len(rows) == 4 * 3 * 2
    knows = next(arm for arm in results[0]["arms"] if arm["name"] == "knows")["judged"]["oracle-labels"]
    first = next(row for row in rows if row["arm"] == "knows" and row["judge"] == "oracle-labels")
    assert float(first["value"]) == knows["value"]


def test_the_command_runs_a_grid_and_writes_its_report(toys: Toys, tmp_path: Path) -> None:
    file = tmp_path / "grid.yaml"
    file.write_text(yaml.safe_dump(values(), sort_keys=False))
    told = pairsieve("--store", toys.store.workspace, "study", file, "--out", tmp_path / "out", "--json")
    written = json.loads((tmp_path / "out" / "result.json").read_text())["studies"]
    assert written == told.json()["studies"]
    for study in written:  # whatever a reader does with the order of keys, each says where it stands
        assert study["at"] == {"seeds": study["study"]["seeds"], "budget.count": study["study"]["budget"]["count"]}
    assert len(written) == 4
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *("report.html", "result.json", "table.csv"),
        *("oracle-labels.svg", "coverage.svg"),
    }
    assert load_grid(file) == parse_grid(values())


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"axes": []}, "axes"),
        ({"axes": {"budget.count": 10}}, "budget.count"),
        ({"axes": {"budget.count": [10, 10]}}, "twice"),
        ({"axes": {"name.first": ["a"]}}, "no map"),
        ({"axes": {"bugdet": [1]}}, "bugdet"),
        ({"axes": {"budget.count": [0]}}, "budget"),
    ],
)
def test_axes_that_do_not_fit_are_named_in_one_line(changes: dict[str, Any], expected: str) -> None:
    with pytest.raises(UsageError, match=expected) as caught:
        parse_grid(values(**changes))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["closed-loop", "closed-loop-guarded"])
def test_the_examples_are_grids(name: str) -> None:
    grid = load_grid(Path(__file__).parents[3] / "examples" / f"{name}.yaml")
    assert grid.name == name
    assert list(grid.axes)[-1] == "budget.percent"


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "a/b", "1/0"])
def test_a_part_is_one_of_so_many(text: str) -> None:
    assert parse_part("2/4") == (1, 4)
    with pytest.raises(UsageError, match="part"):
        parse_part(text)
