"""Writes the documentation that is made from code: docs/cli.md, features.md, metrics.md and openapi.json. `--check`
compares instead."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import typer.main
from typer.core import TyperGroup

from service.cli import app

ROOT = Path(__file__).parents[1]
INTRODUCTION = """\
# Command line

Made from the commands themselves by `make docs`. Every command also takes `--help`. Exit codes: 0 done, 1 failed, 2 bad
usage; an error is one line on standard error, and `pairsieve --debug …` shows its traceback.
"""


def command_line_page() -> str:
    """Markdown: each command with what it does, its arguments and its options."""
    parts = [INTRODUCTION]
    root = typer.main.get_command(app)
    assert isinstance(root, TyperGroup)
    _describe(root, "pairsieve", parts)
    return "\n".join(parts)


FEATURES = """\
# Features

Made from the code by `make docs`. What `where:` in a recipe, `field__op=value` in a URL and `sort=` may name. *scorer*
stands for each scorer of the snapshot, *kind* for each kind of rating. A field with *derived* is computed from others
when something names it; one with *kept* is computed when something first names it and then kept beside the wide table:
for the snapshot, or for the dataset's revision where it depends on that alone. The others are columns of the wide
table. How the labels' features are counted, and where they are approximate, is in [label-graph.md](label-graph.md);
what language and word lists can and cannot say in [text-features.md](text-features.md).
"""

GROUPS = {
    "pair": "The pair itself",
    "prompt": "What the prompt's text says",
    "flags": "What people flagged",
    "labels": "What the labels say of each other",
    "images": "What the images' bytes say, once they were decoded",
    "ratings": "Ratings by people",
    "scores": "Scorers",
}


def features_page() -> str:
    """Markdown: every field by where it comes from."""
    from ranking.features.pairs import column_sets, known_fields

    scopes = {field.name: columns.scope for columns in column_sets(["*scorer*"]).values() for field in columns.fields}
    fields = known_fields(["*scorer*"], ["*kind*"]).values()
    parts = [FEATURES]
    for group, title in GROUPS.items():
        parts += [f"## {title}\n", "| field | kind | made | meaning |", "|---|---|---|---|"]
        for field in (each for each in fields if each.group == group):
            made = "derived" if field.sql is not None else f"kept, {scopes[field.name]}" if field.name in scopes else ""
            parts.append(f"| {_name(field.name)} | {field.kind} | {made} | {field.meaning} |")
        parts.append("")
    return "\n".join(parts)


def _name(field: str) -> str:
    return field.replace("_", "\\_") if "*" in field else f"`{field}`"


def metrics_page() -> str:
    """Markdown: what is written by hand in scripts/metrics.md, and every metric of ours."""
    from ranking.metrics.describe import page, provenances
    from ranking.metrics.installed import installed

    found = installed()
    own = [metric for name, metric in found.metrics.items() if name not in found.whose]
    introduction = (ROOT / "scripts" / "metrics.md").read_text(encoding="utf-8")
    return page(own, introduction.replace("{provenances}", provenances()))


def _describe(command: object, path: str, parts: list[str]) -> None:
    if isinstance(command, TyperGroup):
        options = _parameters(command)
        if options:
            parts += [f"## {path}\n", f"{command.help or ''}\n", *options, ""]
        for name, child in command.commands.items():
            _describe(child, f"{path} {name}", parts)
        return
    help_text = " ".join((getattr(command, "help", "") or "").split())
    parts += [f"## {path}\n", f"{help_text}\n", *_parameters(command), ""]


def _parameters(command: object) -> list[str]:
    lines = []
    for parameter in getattr(command, "params", []):
        if parameter.name == "help":
            continue
        text = getattr(parameter, "help", None) or ""
        if parameter.param_type_name == "argument":
            lines.append(f"- `{parameter.name.upper()}`: {text}")
            continue
        names = "`, `".join([*parameter.opts, *parameter.secondary_opts])
        needed = " Required." if parameter.required else ""
        default = parameter.default
        shown = default not in (None, False, ()) and not callable(default) and str(default) != "Sentinel.UNSET"
        lines.append(f"- `{names}`: {text}{needed}" + (f" Default: `{default}`." if shown else ""))
    return lines


def main() -> int:
    """Write the pages, or with --check say which of them are out of date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    from service.app import create_app
    from service.openapi import rendered

    made = {
        "cli.md": command_line_page(),
        "features.md": features_page(),
        "metrics.md": metrics_page(),
        "openapi.json": rendered(create_app()),
    }
    pages = {ROOT / "docs" / name: text for name, text in made.items()}
    stale = [path for path, text in pages.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    if check:
        for path in stale:
            sys.stderr.write(f"{path.relative_to(ROOT)} is out of date; run `make docs`\n")
        return 1 if stale else 0
    for path in stale:
        path.write_text(pages[path], encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
