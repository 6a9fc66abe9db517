"""The templates and how a page is answered: escaping, visible hidden characters, theme, static files. Not
what pages say."""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from fastapi import Request
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse

from service.dashboard import text
from service.problems import ApiProblem, trace_id

FOLDER: Final = Path(__file__).parent
STATIC: Final = FOLDER / "static"
_THEMES: Final = frozenset({"light", "dark"})


@lru_cache(maxsize=1)
def environment() -> Environment:
    """Jinja with autoescape for everything, and an error for every name a template does not get."""
    made = Environment(
        loader=FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=text.finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(
        number=text.number,
        percent=text.percent,
        moment=text.moment,
        short=text.short,
        code=text.code,
        json=_json,
        words=text.words,
        duration=text.duration,
        size=text.size,
    )
    made.globals.update(static=static_url)
    return made


@lru_cache(maxsize=32)
def static_url(name: str) -> str:
    """The address of a static file, which changes with its content."""
    digest = hashlib.sha256((STATIC / name).read_bytes()).hexdigest()
    return f"/static/{name}?v={digest[:12]}"


def page(request: Request, template: str, *, status: int = 200, **context: Any) -> HTMLResponse:
    """The page that a template draws."""
    theme = request.cookies.get("pairsieve-theme", "")
    parts = request.app.state.parts
    html = (
        environment()
        .get_template(template)
        .render(
            path=request.url.path,
            theme=theme if theme in _THEMES else None,
            snapshot_number=parts.snapshots.view.number,
            **context,
        )
    )
    return HTMLResponse(html, status, {"vary": "Cookie"})


def problem_page(request: Request, problem: ApiProblem) -> HTMLResponse:
    """The page for a problem that a person ran into."""
    response = page(request, "problem.html", status=problem.status, problem=problem, trace=trace_id(request))
    response.headers.update(problem.headers)
    return response


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)
