"""The dashboard's flags: marking a pair, taking an image down, withdrawing either, and the page that lists them. Plain
forms, so that all of it works without scripts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Final
from urllib.parse import parse_qsl, quote, urlencode

from fastapi import APIRouter, Depends, Request
from starlette.responses import RedirectResponse, Response

from ranking.flags.marking import add_mark
from ranking.flags.taking import take_down
from ranking.flags.withdrawing import withdraw_flag
from ranking.flags.words import KINDS, this_person
from ranking.images.fetch import url_fetcher
from service.dashboard.environment import page
from service.dependencies import Parts, PartsDep, ViewDep
from service.flags import FlagQuery
from service.problems import ApiProblem

PAGE: Final = 50
_FIELDS: Final = 12
_FORM: Final = "application/x-www-form-urlencoded"

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True)
class Standing:
    """What a pair's page says of its flags: the marks that stand and those that were withdrawn, newest first, and the
    uids of its images that were taken down."""

    marks: list[dict[str, Any]]
    withdrawn: list[dict[str, Any]]
    gone: frozenset[str]


def standing(parts: Parts, dataset: str, pair_id: str, uids: list[str]) -> Standing:
    """The flags of a pair and its two images now, whatever the snapshot saw."""
    said = parts.flags.of_pair(dataset, pair_id)
    taken = parts.flags.taken().of(dataset)
    return Standing(
        [row for row in said if row["withdrawn"] is None],
        [row for row in said if row["withdrawn"] is not None],
        frozenset(uid for uid in uids if uid in taken),
    )


async def _form(request: Request) -> dict[str, str]:
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media != _FORM:
        raise ApiProblem("invalid-parameter", "Send this from the form of the page.")
    try:
        fields = parse_qsl((await request.body()).decode(), keep_blank_values=True, max_num_fields=_FIELDS)
    except ValueError as error:
        raise ApiProblem("invalid-parameter", "The form cannot be read.") from error
    return dict(fields)


Form = Annotated[dict[str, str], Depends(_form)]


@router.get("/flags")
def flags(
    request: Request,
    parts: PartsDep,
    view: ViewDep,
    dataset: str | None = None,
    kind: str | None = None,
    by: str | None = None,
    withdrawn: bool = False,
    cursor: str | None = None,
) -> Response:
    """Who marked what, when and why, with a button to withdraw it."""
    query = FlagQuery(dataset or None, None, kind or None, by or None, withdrawn)
    found = parts.flags.page(query, key=parts.cursor_key, cursor=cursor, limit=PAGE)
    following = None
    if found.next:
        given = {"dataset": dataset, "kind": kind, "by": by, "withdrawn": "true" if withdrawn else None}
        kept = {name: value for name, value in given.items() if value}
        following = f"/flags?{urlencode(kept | {'cursor': found.next})}"
    takedowns = [row for row in parts.flags.takedowns() if withdrawn or row["withdrawn"] is None]
    return page(
        request,
        "flags.html",
        marks=found.rows,
        total=found.total,
        next=following,
        first=cursor is None,
        takedowns=takedowns,
        datasets=list(view.datasets),
        kinds=list(KINDS),
        query=query,
        by=this_person(),
    )


@router.post("/pairs/{pair_id}/flags")
def mark(pair_id: str, parts: PartsDep, form: Form) -> Response:
    """Mark a pair, and show it again."""
    dataset = _needed(form, "dataset")
    add_mark(
        parts.store,
        pair_id,
        kind=_needed(form, "kind"),
        by=form.get("by", ""),
        why=form.get("why", ""),
        door="dashboard",
        dataset=dataset,
    )
    return _back(dataset, pair_id)


@router.post("/flags/{flag_id}/withdraw")
def withdraw(flag_id: str, parts: PartsDep, form: Form) -> Response:
    """Withdraw a mark or a take-down, and show where it was."""
    withdraw_flag(parts.store, flag_id, by=form.get("by", ""), why=form.get("why", ""), door="dashboard")
    if "pair" in form and "dataset" in form:
        return _back(form["dataset"], form["pair"])
    return RedirectResponse("/flags", 303)


@router.post("/flags/take-down")
def take(parts: PartsDep, form: Form) -> Response:
    """Take an image down, and show the pair again, without it."""
    take_down(
        parts.store,
        _needed(form, "uid"),
        dataset=_needed(form, "dataset"),
        by=form.get("by", ""),
        why=form.get("reason", ""),
        door="dashboard",
        fetch=url_fetcher(parts.settings),
    )
    return _back(form["dataset"], form["pair"]) if "pair" in form else RedirectResponse("/flags", 303)


def _needed(form: dict[str, str], name: str) -> str:
    if not form.get(name):
        raise ApiProblem("invalid-parameter", f"The form lacks {name}.")
    return form[name]


def _back(dataset: str, pair_id: str) -> Response:
    # Built from parts, so that no form can send a browser elsewhere.
    return RedirectResponse(f"/pairs/{quote(pair_id, safe='')}?{urlencode({'dataset': dataset})}#flags", 303)
