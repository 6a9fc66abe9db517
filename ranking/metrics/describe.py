"""Metrics in words: their options with defaults, and the page of the documentation that lists them all."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, get_args

from pydantic.fields import FieldInfo

from ranking.metrics.base import PROVENANCES, Metric


@dataclass(frozen=True)
class Option:
    """An option of a metric: its default as JSON or "required", the words it may be if they are few, and what it is."""

    name: str
    default: str
    choices: tuple[str, ...]
    description: str


def options_of(metric: Metric) -> list[Option]:
    """The options in the order in which they are declared."""
    return [_option(name, field) for name, field in metric.options.model_fields.items()]


def page(metrics: Iterable[Metric], introduction: str) -> str:
    """Markdown: the introduction and a section for each metric."""
    parts = [introduction]
    for metric in metrics:
        parts += [f"## {metric.name}\n", f"    {metric.formula}\n"]
        parts += [f"- Range: {metric.range}.", f"- No metric if the pair has no winner, or {metric.nulls}."]
        parts += [f"- Source ({metric.provenance}): {metric.source}.\n"]
        options = options_of(metric)
        if options:
            parts += ["| option | default | what it is |", "|---|---|---|"]
            parts += [f"| `{each.name}` | {_default(each)} | {_cell(each)} |" for each in options]
            parts.append("")
    return "\n".join(parts)


def provenances() -> str:
    """Markdown: what each word for how well a formula is known means."""
    return "\n".join(f"- **{name}**: {meaning}." for name, meaning in PROVENANCES.items())


def _option(name: str, field: FieldInfo) -> Option:
    default = "required" if field.is_required() else json.dumps(field.default, ensure_ascii=False)
    return Option(name, default, tuple(_words(field.annotation)), field.description or "")


def _words(annotation: Any) -> list[str]:
    return [each for each in get_args(annotation) if isinstance(each, str)]


def _default(option: Option) -> str:
    return option.default if option.default == "required" else f"`{option.default}`"


def _cell(option: Option) -> str:
    words = f" (`{'`, `'.join(option.choices)}`)" if option.choices else ""
    return f"{option.description}{words}".replace("|", "\\|")
