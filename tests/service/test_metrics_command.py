"""`pairsieve metrics` lists every metric, shows one, and takes a mistyped name for what it is."""

import json

import pytest
from typer.testing import CliRunner

from ranking.errors import UnknownNameError
from ranking.metrics.registry import metrics
from service.cli import app


def told(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["metrics", *arguments], catch_exceptions=False)
    assert done.exit_code == 0
    return done.stdout


def test_the_list_names_every_metric(capsys: pytest.CaptureFixture[str]) -> None:
    listed = json.loads(told("--json") or capsys.readouterr().out)
    assert [each["name"] for each in listed] == list(metrics())


def test_one_metric_comes_with_its_options_and_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    shown = json.loads(told("qsd", "--json") or capsys.readouterr().out)
    options = {each["name"]: each["default"] for each in shown["options"]}
    assert shown["formula"] == "ψ_w · (1 − ψ_l)" and options == {"scorer": "required", "normalize": '"minmax"'}


def test_a_mistyped_metric_gets_the_near_ones() -> None:
    with pytest.raises(UnknownNameError, match="did you mean pareto"):
        told("pareot")
