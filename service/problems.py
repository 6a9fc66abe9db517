"""Errors as RFC 9457 problem documents with stable codes: which error becomes which answer. Never shows SQL
or paths."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from ranking.errors import EmptySubsetError, NotFoundError, PairsieveError, UnknownNameError, UsageError

log = logging.getLogger("pairsieve.service")

MEDIA_TYPE: Final = "application/problem+json"

CODES: Final[dict[str, tuple[int, str]]] = {
    "bad-request": (400, "the request cannot be read"),
    "cursor-mismatch": (400, "the cursor is not one of ours, or belongs to another query or snapshot"),
    "cross-site": (403, "a page of another site sent this; only this server's own pages and programs may"),
    "not-found": (404, "there is nothing at this address"),
    "unknown-name": (404, "no dataset, subset, run, job or pair has this name"),
    "image-missing": (404, "the dataset has no such image, or its source carries no bytes for it"),
    "method-not-allowed": (405, "the address exists, but not for this method"),
    "not-acceptable": (406, "none of the formats in Accept can be given"),
    "not-snapshotted": (409, "the dataset exists, but no snapshot holds it yet"),
    "not-computed": (409, "the field exists, but its values are still being computed; ask again"),
    "body-too-large": (413, "the body is larger than any that is of use here"),
    "not-json": (415, "the body must be JSON and say so in Content-Type"),
    "image-taken-down": (410, "somebody took the image down; it is shown no more"),
    "range-not-satisfiable": (416, "the range lies outside the file"),
    "host-not-allowed": (421, "the Host header names a machine that this server is not"),
    "image-corrupt": (422, "the image's bytes do not decode as JPEG, PNG or WebP within the limits"),
    "invalid-parameter": (422, "a parameter is unknown, malformed or out of range"),
    "internal": (500, "an error of ours; the server's log has the details under trace_id"),
    "busy": (503, "the server is at work on as much of this as it can be; try again"),
    "source-gone": (503, "the file that the image was ingested from is gone or has changed"),
    "store-unavailable": (503, "the store cannot be read, or something in it is damaged"),
}
"""Every code that an answer may carry, with its status and what it means. `docs` lists them."""

_BY_STATUS: Final = {400: "bad-request", 404: "not-found", 405: "method-not-allowed", 406: "not-acceptable"}


class Invalid(BaseModel):
    """One parameter that does not fit."""

    pointer: str = Field(description="where the parameter stands, for example query/limit")
    message: str


class Problem(BaseModel):
    """The body of every error (RFC 9457)."""

    type: str = Field(description="an address that explains the code")
    title: str
    status: int
    detail: str = Field(description="what went wrong this time, and what to do")
    instance: str = Field(description="the path that was asked for")
    code: str = Field(description="a stable word for programs")
    trace_id: str = Field(description="finds the request in the server's log")
    errors: list[Invalid] = Field(default_factory=list, description="each parameter that does not fit")


class ApiProblem(Exception):
    """Raised by a route to answer with the problem `code`; `detail` is for people and may be shown to
    anyone."""

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        errors: Sequence[Invalid] = (),
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, _ = CODES[code]
        self.code = code
        self.detail = detail
        self.errors = list(errors)
        self.headers = headers or {}


def from_error(error: PairsieveError) -> ApiProblem:
    """The problem for one of our errors. Only errors about the request itself keep their own words: the
    others may name files of this machine, which belong in the log."""
    if isinstance(error, UnknownNameError):
        return ApiProblem("unknown-name", str(error))
    if isinstance(error, NotFoundError):
        return ApiProblem("not-found", str(error))
    if isinstance(error, UsageError | EmptySubsetError):
        return ApiProblem("invalid-parameter", str(error))
    if error.code in ("source-gone", "source-changed"):
        return ApiProblem("source-gone", "The file that this was ingested from is gone or has changed; put it back.")
    return ApiProblem("store-unavailable", "The store cannot give this; run `pairsieve snapshot verify` on the server.")


def problem_document(problem: ApiProblem, *, path: str, trace_id: str) -> dict[str, Any]:
    """The JSON body of a problem."""
    return Problem(
        type=f"/docs#problem-{problem.code}",
        title=HTTPStatus(problem.status).phrase,
        status=problem.status,
        detail=problem.detail,
        instance=path,
        code=problem.code,
        trace_id=trace_id,
        errors=problem.errors,
    ).model_dump()


def problem_response(problem: ApiProblem, *, path: str, trace_id: str) -> Response:
    """The answer for a problem."""
    document = problem_document(problem, path=path, trace_id=trace_id)
    return JSONResponse(document, problem.status, problem.headers, MEDIA_TYPE)


def trace_id(request: Request) -> str:
    """The id under which the log knows this request."""
    return str(request.scope.get("pairsieve.trace_id", ""))


def to_problem(error: Exception) -> ApiProblem:
    """The problem for whatever a route raised."""
    if isinstance(error, ApiProblem):
        return error
    if isinstance(error, PairsieveError):
        return from_error(error)
    if isinstance(error, RequestValidationError):
        errors = [
            Invalid(pointer="/".join(str(part) for part in item["loc"]), message=str(item["msg"]))
            for item in error.errors()
        ]
        first = errors[0]
        return ApiProblem("invalid-parameter", f"{first.pointer}: {first.message}", errors=errors)
    if isinstance(error, HTTPException):
        code = _BY_STATUS.get(error.status_code, "bad-request" if error.status_code < 500 else "internal")
        headers = {name: value for name, value in (error.headers or {}).items() if name.lower() == "allow"}
        return ApiProblem(code, _sentence(CODES[code][1]), headers=headers)
    return ApiProblem("internal", "Something went wrong on our side; the server's log has the details.")


def install(app: FastAPI) -> None:
    """Answer every error of the app by a problem document, or by a page where a browser asked for one."""

    async def handle(request: Request, error: Exception) -> Response:
        problem = to_problem(error)
        if problem.status >= 500:
            log.error("%s %s %s: %s", trace_id(request), request.method, request.url.path, error, exc_info=error)
        page = getattr(request.app.state, "problem_page", None)
        # A page shows something of the store: not to another host, and not when the store may be what broke.
        plain = problem.code in ("internal", "host-not-allowed")
        if page is not None and not plain and wants_page(request):
            shown: Response = page(request, problem)
            return shown
        return problem_response(problem, path=request.url.path, trace_id=trace_id(request))

    for kind in (ApiProblem, PairsieveError, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, handle)
    app.state.handle_error = handle


def wants_page(request: Request) -> bool:
    """Whether a person at a browser is waiting: /v1 always answers programs."""
    return not request.url.path.startswith("/v1") and "text/html" in request.headers.get("accept", "")


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."
