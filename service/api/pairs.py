"""/v1/pairs: pairs with their scores, filtered (by URL or by a tree) and sorted, in keyset pages; and one pair."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from service.api.models import PairDetail, PairPage
from service.api.present import pair_out
from service.browse import find_pair, parse_listing, parse_search, read_page
from service.dependencies import NoQuery, PartsDep, ViewDep
from service.security import JsonBody

router = APIRouter(prefix="/v1/pairs", tags=["pairs"])


class PairsQuery(BaseModel):
    """Parameters with a meaning of their own. Every other one is a filter, `field__op=value`."""

    model_config = ConfigDict(extra="allow")

    dataset: str | None = Field(None, description="its name; needed where there are several")
    sort: str | None = Field(None, max_length=200, description="a field, or -field for descending; nulls come last")
    limit: int = Field(50, ge=1, le=500, description="pairs on a page")
    cursor: str | None = Field(None, description="`next` of the page before; only good for the same query")


class PairQuery(BaseModel):
    """The query of one pair."""

    model_config = ConfigDict(extra="forbid")

    dataset: str | None = None


@router.get("")
def list_(
    request: Request,
    response: Response,
    parts: PartsDep,
    view: ViewDep,
    query: Annotated[PairsQuery, Query()],
) -> PairPage:
    """A page of pairs. Filters stand in the URL as `field__op=value`, all of them must hold; `op` is one of
    eq, ne, gt, gte, lt, lte, in (values with commas between), isnull (true or false). `/v1/datasets/{name}`
    lists the fields."""
    dataset = view.dataset(query.dataset)
    if dataset is None:
        return PairPage(items=[], next=None, next_url=None, total=0, snapshot=view.number)
    table = view.table(dataset)
    filters = [(name, text) for name, text in request.query_params.multi_items() if name not in PairsQuery.model_fields]
    listing = parse_listing(view, table, filters=filters, sort=query.sort)
    found = read_page(listing, key=parts.cursor_key, cursor=query.cursor, limit=query.limit)
    next_url = None
    if found.next is not None:
        kept = [(name, text) for name, text in request.query_params.multi_items() if name != "cursor"]
        next_url = f"/v1/pairs?{urlencode([*kept, ('cursor', found.next)])}"
        response.headers["link"] = f'<{next_url}>; rel="next"'
    return PairPage(
        items=[pair_out(view, table, row) for row in found.rows.to_pylist()],
        next=found.next,
        next_url=next_url,
        total=found.total,
        snapshot=view.number,
    )


class PairSearch(BaseModel):
    """A search whose filter is a tree, for what a URL cannot say."""

    model_config = ConfigDict(extra="forbid", strict=True)

    dataset: str | None = Field(None, description="its name; needed where there are several")
    where: dict[str, Any] | None = Field(
        None,
        description="a comparison {field, op, value}, or and, or, not of such: at most 6 deep, 64 comparisons; "
        "the `where` of a recipe",
        examples=[{"and": [{"field": "is_tie", "value": False}, {"field": "votes", "op": "gte", "value": 2}]}],
    )
    sort: str | None = Field(None, max_length=200, description="a field, or -field for descending; nulls come last")
    limit: int = Field(50, ge=1, le=500, description="pairs on a page")
    cursor: str | None = Field(None, description="`next` of the page before; only good for the same search")


@router.post(":search", dependencies=[JsonBody])
def search(parts: PartsDep, view: ViewDep, _query: NoQuery, body: PairSearch) -> PairPage:
    """A page of the pairs that a filter tree describes. It changes nothing; for the next page send the same again with
    `cursor`, so `next_url` is always null."""
    dataset = view.dataset(body.dataset)
    if dataset is None:
        return PairPage(items=[], next=None, next_url=None, total=0, snapshot=view.number)
    table = view.table(dataset)
    listing = parse_search(view, table, where=body.where, sort=body.sort)
    found = read_page(listing, key=parts.cursor_key, cursor=body.cursor, limit=body.limit)
    return PairPage(
        items=[pair_out(view, table, row) for row in found.rows.to_pylist()],
        next=found.next,
        next_url=None,
        total=found.total,
        snapshot=view.number,
    )


@router.get("/{pair_id}")
def get(pair_id: str, view: ViewDep, query: Annotated[PairQuery, Query()]) -> PairDetail:
    """One pair, in the named dataset or the first that has it."""
    table, row = find_pair(view, pair_id, dataset=query.dataset)
    assert view.number is not None, "a pair was found, so there is a snapshot"
    return PairDetail(**pair_out(view, table, row).model_dump(), snapshot=view.number)
