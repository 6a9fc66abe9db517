"""/v1/flags and /v1/takedowns: what people say against pairs, and images that nobody may see. Records are only ever
added."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from ranking.flags.marking import add_mark
from ranking.flags.taking import take_down
from ranking.flags.withdrawing import find_flag, withdraw_flag
from ranking.flags.words import MAX_WHO, MAX_WHY, this_person
from ranking.images.fetch import url_fetcher
from service.api.models import finite
from service.dependencies import NoQuery, PartsDep
from service.flags import FlagQuery
from service.security import JsonBody

router = APIRouter(prefix="/v1", tags=["flags"])

KindName = Literal["wrong_label", "both_bad", "unsafe", "duplicate"]
Who = Annotated[str | None, Field(max_length=MAX_WHO, description="who says so; the server's user if not given")]
Note = Annotated[str, Field(max_length=MAX_WHY, description="a note of one line")]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class MarkOut(BaseModel):
    """One person's word against one pair."""

    id: str
    dataset: str
    pair_id: str
    kind: KindName
    by: str
    created: str = Field(description="UTC")
    why: str
    door: str = Field(description="where it came in: cli, api, dashboard or import")
    source: str = Field(description="the record that says so: the mark itself, or the batch of an import")
    withdrawn: str | None = Field(description="when it was withdrawn; null where it stands")
    withdrawn_by: str | None
    withdrawn_why: str | None


class MarkPage(BaseModel):
    """A page of marks, newest first. `next` is null on the last page and nowhere else."""

    items: list[MarkOut]
    next: str | None
    next_url: str | None
    total: int


class TakeDownOut(BaseModel):
    """An image that nobody may see. It is named by dataset and uid, by the SHA-256 of its bytes, or both."""

    id: str
    dataset: str | None
    uid: str | None
    sha256: str | None
    by: str
    created: str = Field(description="UTC")
    why: str
    door: str
    withdrawn: str | None = Field(description="when it was withdrawn; null where it stands")
    withdrawn_by: str | None
    withdrawn_why: str | None


class TakeDownList(BaseModel):
    items: list[TakeDownOut]


class TakeDownDone(BaseModel):
    """What a take-down came to."""

    id: str
    new: bool = Field(description="false where it stood already")
    images: dict[str, list[str]] = Field(description="uids by dataset: the image and those with the same bytes")
    pairs: dict[str, int] = Field(description="pairs that have one of them, by dataset")
    packs: int = Field(description="packs of thumbnails that were made anew")


class FlagOut(BaseModel):
    """A mark, a batch of marks or a take-down, with all that is known of it."""

    id: str
    what: Literal["mark", "batch", "take-down"]
    facts: dict[str, Any]


class WithdrawalOut(BaseModel):
    """The end of a flag."""

    of: str
    by: str
    why: str
    created: str
    new: bool = Field(description="false where somebody had withdrawn it already")


class MarksQuery(BaseModel):
    """Which marks to list."""

    model_config = ConfigDict(extra="forbid")

    dataset: str | None = None
    pair_id: str | None = Field(None, max_length=64)
    kind: KindName | None = None
    by: str | None = Field(None, max_length=MAX_WHO)
    withdrawn: bool = Field(False, description="those that were withdrawn, too")
    limit: int = Field(50, ge=1, le=1000, description="marks on a page")
    cursor: str | None = Field(None, description="`next` of the page before; only good for the same query")


class MarkIn(_Body):
    """A mark to make."""

    pair_id: str = Field(max_length=64)
    kind: KindName
    dataset: str | None = Field(None, description="the first that has the pair, if not given")
    by: Who = None
    why: Note = ""


class TakeDownIn(_Body):
    """An image to take down: by `uid`, or by `sha256`."""

    uid: str | None = Field(None, max_length=2000)
    sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$", description="of its bytes, known here or not")
    dataset: str | None = Field(None, description="the first that has the uid, if not given")
    reason: str = Field(min_length=1, max_length=MAX_WHY)
    by: Who = None


class WithdrawIn(_Body):
    """Who withdraws, and why."""

    by: Who = None
    why: Note = ""


@router.get("/flags")
def list_(response: Response, parts: PartsDep, query: Annotated[MarksQuery, Query()]) -> MarkPage:
    """Marks against pairs as they are now, newest first. A snapshot sees those that stand when it is made."""
    asked = FlagQuery(query.dataset, query.pair_id, query.kind, query.by, query.withdrawn)
    found = parts.flags.page(asked, key=parts.cursor_key, cursor=query.cursor, limit=query.limit)
    next_url = None
    if found.next is not None:
        given = query.model_dump(exclude_defaults=True, mode="json") | {"cursor": found.next}
        if "withdrawn" in given:
            given["withdrawn"] = "true"
        next_url = f"/v1/flags?{urlencode(given)}"
        response.headers["link"] = f'<{next_url}>; rel="next"'
    items = [MarkOut(**row) for row in found.rows]
    return MarkPage(items=items, next=found.next, next_url=next_url, total=found.total)


@router.post("/flags", dependencies=[JsonBody], status_code=201, responses={200: {"model": MarkOut}})
def add(response: Response, parts: PartsDep, _query: NoQuery, body: MarkIn) -> MarkOut:
    """Mark a pair. 201 for a new mark; 200 where the same person's same mark stands already."""
    who = body.by if body.by is not None else this_person()
    mark, new = add_mark(
        parts.store, body.pair_id, kind=body.kind, by=who, why=body.why, door="api", dataset=body.dataset
    )
    response.status_code = 201 if new else 200
    response.headers["location"] = f"/v1/flags/{mark.id}"
    row = next(row for row in parts.flags.of_pair(mark.dataset, mark.pair_id) if row["id"] == mark.id)
    return MarkOut(dataset=mark.dataset, **row)


@router.get("/flags/{flag_id}")
def get(flag_id: str, parts: PartsDep, _query: NoQuery) -> FlagOut:
    """A mark, a batch of marks or a take-down."""
    found = finite(find_flag(parts.store, flag_id))
    return FlagOut(id=flag_id, what=found["what"], facts=found)


@router.post("/flags/{flag_id}:withdraw", dependencies=[JsonBody])
def withdraw(flag_id: str, parts: PartsDep, _query: NoQuery, body: WithdrawIn) -> WithdrawalOut:
    """Withdraw a mark, all marks of a batch, or a take-down. Nothing is deleted: a record says that it ended."""
    who = body.by if body.by is not None else this_person()
    record, new = withdraw_flag(parts.store, flag_id, by=who, why=body.why, door="api")
    return WithdrawalOut(of=record.of, by=record.by, why=record.why, created=record.created, new=new)


@router.get("/takedowns")
def takedowns(parts: PartsDep, _query: NoQuery) -> TakeDownList:
    """Every take-down, newest first, those that were withdrawn, too."""
    return TakeDownList(items=[TakeDownOut(**row) for row in parts.flags.takedowns()])


@router.post("/takedowns", dependencies=[JsonBody], status_code=201, responses={200: {"model": TakeDownDone}})
def take(response: Response, parts: PartsDep, _query: NoQuery, body: TakeDownIn) -> TakeDownDone:
    """Take an image down, with all that have the same bytes. From now on its address answers 410; later snapshots have
    no pair with it. 201 for a new take-down, 200 where it stood already."""
    done = take_down(
        parts.store,
        body.uid,
        sha256=body.sha256,
        dataset=body.dataset,
        by=body.by if body.by is not None else this_person(),
        why=body.reason,
        door="api",
        fetch=url_fetcher(parts.settings),
    )
    response.status_code = 201 if done.new else 200
    response.headers["location"] = f"/v1/flags/{done.record.id}"
    images = {name: list(uids) for name, uids in done.images.items()}
    return TakeDownDone(id=done.record.id, new=done.new, images=images, pairs=done.pairs, packs=done.packs)
