"""The OpenAPI document: FastAPI's, with our problem documents in place of its validation errors. No HTTP
here."""

from __future__ import annotations

import json
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from service.problems import CODES, MEDIA_TYPE, Problem

_DESCRIPTION = """\
Ranked image-preference pairs, the subsets cut from them, and the runs trained on those.

A POST must be sent as JSON, by a program or by one of our own pages. Every error is a problem document (RFC 9457)
with a stable `code`; `/docs` lists the codes.
Lists come in keyset pages: follow `next_url` until `next` is null. Unknown parameters are refused.
"""


def operation_id(route: APIRoute) -> str:
    """{tag}-{function}, e.g. pairs-list."""
    return f"{route.tags[0] if route.tags else 'pages'}-{route.name.rstrip('_')}"


def document(app: FastAPI) -> dict[str, Any]:
    """The app's document, computed once."""
    if app.openapi_schema is None:
        made = get_openapi(title=app.title, version=app.version, description=_DESCRIPTION, routes=app.routes)
        _use_problems(made)
        app.openapi_schema = made
    return app.openapi_schema


def rendered(app: FastAPI) -> str:
    """The document as it is committed in docs/openapi.json."""
    return json.dumps(document(app), indent=2, ensure_ascii=False, sort_keys=True) + "\n"


def _use_problems(made: dict[str, Any]) -> None:
    schemas = made["components"]["schemas"]
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    definition = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas |= definition.pop("$defs")
    definition["properties"]["code"]["enum"] = sorted(CODES)
    schemas["Problem"] = definition
    body = {"content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}}
    for path, operations in made["paths"].items():
        for operation in operations.values():
            responses = operation["responses"]
            responses["422"] = {"description": "A parameter is unknown, malformed or out of range"} | body
            if "{" in path:
                responses["404"] = {"description": "There is no such thing"} | body
            responses["default"] = {"description": "Any other error"} | body
