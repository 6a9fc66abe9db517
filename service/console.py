"""How the command line speaks: tables and progress for people, JSON for programs, one line for an error."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
)
from rich.table import Table
from rich.text import Text

out = Console()
err = Console(stderr=True)

Advance = Callable[[int, int], None]
"""Called as advance(done, total)."""


class CountColumn(ProgressColumn):
    """How many of how many, or how many MB of how many."""

    def render(self, task: Task) -> Text:
        total = int(task.total or 0)
        if task.fields.get("unit") == "bytes":
            return Text(f"{task.completed / 1e6:,.0f}/{total / 1e6:,.0f} MB", style="progress.download")
        return Text(f"{int(task.completed):{len(str(total))}d}/{total}", style="progress.download")


class RateColumn(ProgressColumn):
    """How many items, or MB, a second, over the recent past."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        if not speed:
            return Text("")
        if task.fields.get("unit") == "bytes":
            return Text(f"{speed / 1e6:,.1f} MB/s", style="dim")
        return Text(f"{speed:,.0f}/s" if speed >= 10 else f"{speed:.1f}/s", style="dim")


@contextmanager
def progress_bar(title: str, *, quiet: bool = False, unit: str = "") -> Iterator[Advance]:
    """A bar with count, rate and time left, from the first `advance` on; with the unit "bytes" in MB. Nothing when
    `quiet` or not on a terminal."""
    with stage_bars(quiet=quiet, units={title: unit}) as stage:
        yield lambda done, total: stage(title, done, total)


class ClockColumn(ProgressColumn):
    """Time taken, and while there is more to do, time left."""

    def render(self, task: Task) -> Text:
        taken = _minutes(task.finished_time if task.finished else task.elapsed)
        if task.finished:
            return Text(taken, style="dim")
        left = _minutes(task.time_remaining)
        return Text(f"{taken}, {left} left" if left else taken, style="dim")


class Bars:
    """One bar per stage, each appearing when its stage begins. Called as bars(name, done, total); `note` puts a word
    beside a bar."""

    def __init__(self, bar: Progress, units: Mapping[str, str]) -> None:
        self._bar, self._units = bar, units
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, name: str, done: int, total: int) -> None:
        if name not in self._tasks:
            title = STAGES.get(name, name)
            self._tasks[name] = self._bar.add_task(title, total=total, unit=self._units.get(name, ""), note="")
        self._bar.update(self._tasks[name], completed=done, total=total)

    def note(self, name: str, text: str) -> None:
        """Say `text` beside the bar of a stage that has begun."""
        if name in self._tasks:
            self._bar.update(self._tasks[name], note=text)


STAGES = {
    "cells": "arms and seeds",
    "encode": "encoding images",
    "latents": "encoding images",
    "prompts": "encoding prompts",
    "features": "features of images",
    "reference": "reference errors",
    "margins": "margins of pairs",
    "held-out": "encoding unseen images",
    "train": "training steps",
    "base": "drawing, base model",
    "run": "drawing, trained model",
    "pictures": "reading pictures",
    "reward": "training steps",
    "measure": "scoring held-out pairs",
}


@contextmanager
def stage_bars(*, quiet: bool = False, units: Mapping[str, str] | None = None) -> Iterator[Bars]:
    """The bars of a long command, while the block lasts; `units` says which count bytes."""
    with _progress(quiet) as bar:
        yield Bars(bar, units or {})


@contextmanager
def waiting(what: str, *, quiet: bool = False) -> Iterator[None]:
    """A sign of life while something takes seconds. Nothing when `quiet` or not on a terminal."""
    if quiet or not err.is_terminal:
        yield
        return
    with err.status(what):
        yield


def print_json(value: Any) -> None:
    """One JSON document on standard output; dataclasses and mappings of them are welcome."""
    out.out(json.dumps(_plain(value), ensure_ascii=False, indent=1), highlight=False)


_NUMBER = re.compile(r"[+-]?[\d,]*\.?\d+%?")
_WORD, _LEAST = 24, 12


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A small table, of cells as they are: brackets are no markup. Numbers are right-aligned; words such as ids are
    not broken where longer texts can be."""
    table = Table(title=Text(title, style="bold"), title_justify="left", header_style="dim", box=None, pad_edge=False)
    cells = [[_cell(value) for value in row] for row in rows]
    texts = [[row[index] for row in cells if row[index] not in ("", "–")] for index in range(len(columns))]
    words = [all(len(each) <= _WORD and " " not in each for each in said) for said in texts]
    widths = [
        max(map(len, [column, *said])) if whole else _LEAST
        for column, said, whole in zip(columns, texts, words, strict=True)
    ]
    # What may not be broken is cut off where it does not fit: then everything may.
    fits = sum(widths) + 2 * (len(columns) - 1) <= out.width
    for column, said, whole in zip(columns, texts, words, strict=True):
        numeric = bool(said) and all(map(_NUMBER.fullmatch, said))
        table.add_column(Text(column), justify="right" if numeric else "left", overflow="fold", no_wrap=whole and fits)
    for row in cells:
        table.add_row(*map(Text, row))
    out.print(table)


def print_facts(facts: Mapping[str, Any]) -> None:
    """Lines of "name  value"."""
    width = max(map(len, facts), default=0)
    for name, value in facts.items():
        out.print(Text.assemble((f"{name:<{width}}  ", "dim"), _cell(value)), soft_wrap=True)


def say(text: str) -> None:
    """A line for people, on standard error."""
    err.print(Text(text), soft_wrap=True)


def _progress(quiet: bool) -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description:<22}"),
        BarColumn(bar_width=28),
        CountColumn(),
        RateColumn(),
        ClockColumn(),
        TextColumn("{task.fields[note]}", style="dim"),
        console=err,
        disable=quiet or not err.is_terminal,
    )


def _minutes(seconds: float | None) -> str:
    if seconds is None:
        return ""
    whole = round(seconds)
    return f"{whole // 60}:{whole % 60:02d}"


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.4f}" if abs(value) < 1000 else f"{value:,.1f}"
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "–"}[value]
    return f"{value:,}" if isinstance(value, int) else str(value)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _plain(dataclasses.asdict(value))
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None  # JSON knows no NaN
    return value if isinstance(value, str | int | float | bool | None) else str(value)
