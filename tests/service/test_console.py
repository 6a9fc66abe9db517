"""What the command line writes: counts of things and MB of bytes beside a progress bar, tables, JSON."""

import json

import pytest
from rich.console import Console
from rich.progress import Progress
from rich.text import Text

from service import console
from service.console import CountColumn, RateColumn, print_json, print_table


def shown(unit: str, done: int, total: int, seconds: float) -> list[str]:
    now = 0.0
    bar = Progress(get_time=lambda: now, auto_refresh=False)
    task = bar.add_task("reading", total=total, unit=unit)
    for step in range(1, 5):
        now = seconds * step / 4
        bar.update(task, completed=done * step // 4)
    texts = [column.render(bar.tasks[0]) for column in (CountColumn(), RateColumn())]
    assert all(isinstance(text, Text) for text in texts)
    return [text.plain for text in texts]


def test_bytes_read_as_megabytes_a_second() -> None:
    assert shown("bytes", 400_000_000, 1_600_000_000, seconds=4) == ["400/1,600 MB", "100.0 MB/s"]


def test_things_read_as_counts() -> None:
    assert shown("", 400, 1600, seconds=4) == [" 400/1600", "100/s"]
    assert shown("", 4, 9, seconds=4) == ["4/9", "1.0/s"]


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> Console:
    monkeypatch.setattr(console, "out", Console(width=48, record=True, force_terminal=False))
    return console.out


def test_brackets_in_a_table_are_no_markup(narrow: Console) -> None:
    print_table("[bold]", ["formula [b]"], [["E[d | d > 0]"], ["scorers: [clip, mps]"]])
    lines = [line.strip() for line in narrow.export_text().splitlines()]
    assert lines == ["[bold]", "formula [b]", "E[d | d > 0]", "scorers: [clip, mps]"]


def test_ids_stay_whole_where_a_text_can_be_broken(narrow: Console) -> None:
    print_table("marks", ["id", "pair", "why"], [["16c85e41e6e6695f", "9155db062c4b73e6", "the other one is rounder"]])
    assert "16c85e41e6e6695f  9155db062c4b73e6" in narrow.export_text()


def test_numbers_stand_under_each_other_whatever_their_form(narrow: Console) -> None:
    print_table("", ["a", "b", "c"], [[1234.5, "34.8%", "+0.783"], [None, "5%", "-0.04"], [0.25, "–", ""]])
    assert [line.rstrip() for line in narrow.export_text().splitlines()] == [
        "      a      b       c",
        "1,234.5  34.8%  +0.783",
        "      –     5%   -0.04",
        " 0.2500      –",
    ]


def test_nothing_is_cut_off_where_not_all_fits(narrow: Console) -> None:
    print_table("", ["one", "two", "three"], [["0123456789abcdef", "fedcba9876543210", "00112233445566778899"]])
    told = "".join(narrow.export_text().split())
    assert len(told) == len("onetwothree") + 16 + 16 + 20


def test_json_has_null_where_a_number_is_none(narrow: Console) -> None:
    print_json({"accuracy": [float("nan"), 0.5], "high": float("inf")})
    assert json.loads(narrow.export_text()) == {"accuracy": [None, 0.5], "high": None}
