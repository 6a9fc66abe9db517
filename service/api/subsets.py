"""GET /v1/subsets: subsets, their pairs by rank, and their immutable files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse, Response

from ranking.subsets.catalog import Subset, get_subset, list_subsets
from ranking.subsets.compare import compare as compare_subsets
from service.api.files import send_file
from service.api.models import (
    ChangeOut,
    ComparisonOut,
    FileOut,
    MovedOut,
    SubsetDetail,
    SubsetList,
    SubsetOut,
    SubsetPage,
    SubsetPair,
    finite,
)
from service.api.present import image_url
from service.comparison import moved
from service.cursors import sign, verify
from service.dependencies import NoQuery, Parts, PartsDep, ViewDep
from service.problems import ApiProblem
from service.snapshots import View

router = APIRouter(prefix="/v1/subsets", tags=["subsets"])

Format = Literal["json", "jsonl", "parquet", "arrow"]
MEDIA_TYPES: dict[Format, str] = {
    "json": "application/json",
    "jsonl": "application/jsonl",
    "parquet": "application/vnd.apache.parquet",
    "arrow": "application/vnd.apache.arrow.stream",
}


class SubsetPairsQuery(BaseModel):
    """How to have a subset's pairs."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(50, ge=1, le=500, description="pairs on a page (json only)")
    cursor: str | None = Field(None, description="`next` of the page before (json only)")
    format: Format | None = Field(None, description="instead of Accept; all but json are the whole file")


@router.get("")
def list_(parts: PartsDep, _query: NoQuery) -> SubsetList:
    """Every version of every subset, by name, then oldest first."""
    return SubsetList(items=[_out(subset) for subset in list_subsets(parts.store)])


@router.get("/{ref}")
def get(ref: str, parts: PartsDep, _query: NoQuery) -> SubsetDetail:
    """One subset: `name@version`, or `name@latest`. Its recipe, statistics and files."""
    subset = get_subset(parts.store, ref)
    files = subset_files(parts, subset)
    return SubsetDetail(**_out(subset).model_dump(), recipe=subset.recipe, statistics=subset.statistics, files=files)


@router.get(
    "/{ref}/pairs",
    response_model=SubsetPage,
    responses={200: {"content": {media: {} for kind, media in MEDIA_TYPES.items() if kind != "json"}}},
)
def pairs(
    ref: str, request: Request, parts: PartsDep, view: ViewDep, query: Annotated[SubsetPairsQuery, Query()]
) -> Response:
    """The subset's pairs, best first: pages of JSON, or the whole file as JSON Lines, Parquet or an Arrow stream, with
    a strong ETag."""
    subset = get_subset(parts.store, ref)
    kind = query.format or _accepted(request.headers.get("accept", "*/*"))
    if kind != "json":
        path, sha256 = _file(parts, subset, kind)
        name = f"{subset.name}-{subset.version}.{kind}"
        # `latest` moves: only an address with a version may be kept for ever.
        fixed = ref == subset.ref
        response = send_file(
            request, path, sha256=sha256, media_type=MEDIA_TYPES[kind], file_name=name, immutable=fixed
        )
    else:
        page = _page(parts, view, subset, query)
        response = JSONResponse(page.model_dump())
        if page.next_url is not None:
            response.headers["link"] = f'<{page.next_url}>; rel="next"'
    response.headers["vary"] = "Accept"
    return response


class CompareQuery(BaseModel):
    """What to compare a subset with."""

    model_config = ConfigDict(extra="forbid")

    with_: str = Field(alias="with", max_length=200, description="the other subset: name@version, or name@latest")


@router.get("/{ref}/compare")
def compare(ref: str, parts: PartsDep, query: Annotated[CompareQuery, Query()]) -> ComparisonOut:
    """What this subset (a) and another (b) share and what sets them apart: overlap, rank correlation, what differs in
    their recipes and statistics, and which pairs moved most."""
    first, second = get_subset(parts.store, ref), get_subset(parts.store, query.with_)
    found = compare_subsets(parts.store, first, second)
    return ComparisonOut(
        a=found.a,
        b=found.b,
        rows_a=first.rows,
        rows_b=second.rows,
        common=found.common,
        only_a=found.only_a,
        only_b=found.only_b,
        jaccard=found.jaccard,
        overlap=found.overlap,
        spearman=found.spearman,
        kendall=found.kendall,
        flipped=found.flipped,
        common_prompts=found.common_prompts,
        same_snapshot=found.snapshots is None,
        recipe=[ChangeOut(key=change.key, a=finite(change.a), b=finite(change.b)) for change in found.recipe],
        statistics={name: finite(list(values)) for name, values in found.statistics.items()},
        moved=[
            MovedOut(pair_id=row.pair_id, prompt=row.prompt, rank_a=row.first, rank_b=row.second, flipped=row.flipped)
            for row in moved(parts.subsets, first, second)
        ],
    )


@dataclass(frozen=True)
class RankedPage:
    """Pairs of a subset by rank, with the cursors of the pages beside it; None at the ends."""

    items: list[SubsetPair]
    next: str | None
    previous: str | None


def subset_page(parts: Parts, view: View, subset: Subset, *, cursor: str | None, limit: int) -> RankedPage:
    """The pairs after `cursor`, at most `limit`; ApiProblem cursor-mismatch."""
    identity: dict[str, Any] = {"of": "subset", "ref": subset.ref, "sha256": subset.sha256}
    start = int(verify(parts.cursor_key, identity, cursor)) if cursor is not None else 0
    table = parts.subsets.pairs(subset)
    rows = table.slice(start, limit).to_pylist()
    end = start + len(rows)
    dataset = view.dataset(subset.dataset)
    assert dataset is not None, "a name gives a dataset or an error"
    items = [
        SubsetPair(
            **row,
            winner_url=image_url(dataset, row["winner_uid"]),
            loser_url=image_url(dataset, row["loser_uid"]),
        )
        for row in rows
    ]
    return RankedPage(
        items=items,
        next=sign(parts.cursor_key, identity, end) if end < table.num_rows else None,
        previous=sign(parts.cursor_key, identity, max(start - limit, 0)) if start else None,
    )


def _page(parts: Parts, view: View, subset: Subset, query: SubsetPairsQuery) -> SubsetPage:
    page = subset_page(parts, view, subset, cursor=query.cursor, limit=query.limit)
    next_url = None
    if page.next is not None:
        next_url = f"{_url(subset)}/pairs?{urlencode({'limit': query.limit, 'format': 'json', 'cursor': page.next})}"
    return SubsetPage(
        items=page.items, next=page.next, next_url=next_url, total=subset.rows, snapshot=subset.snapshot.n
    )


def _accepted(accept: str) -> Format:
    """The format that an Accept header prefers: the highest q first, then the order of the header."""
    wanted: list[tuple[float, int, str]] = []
    for index, part in enumerate(accept.split(",")):
        media, *parameters = (piece.strip().lower() for piece in part.split(";"))
        quality = next((piece[2:] for piece in parameters if piece.startswith("q=")), "1")
        try:
            wanted.append((-float(quality), index, media))
        except ValueError:
            continue
    kinds: dict[str, Format] = {media: kind for kind, media in MEDIA_TYPES.items()}
    kinds |= {"*/*": "json", "application/*": "json", "application/x-ndjson": "jsonl"}
    for quality_, _, media in sorted(wanted):
        if media in kinds and quality_ < 0:
            return kinds[media]
    raise ApiProblem("not-acceptable", f"This is to be had as {', '.join(MEDIA_TYPES.values())}.")


def subset_files(parts: Parts, subset: Subset) -> list[FileOut]:
    """The files that hold all of the subset's pairs."""
    files = []
    kinds: tuple[Format, ...] = ("parquet", "jsonl", "arrow")
    for kind in kinds:
        path, sha256 = _file(parts, subset, kind)
        files.append(
            FileOut(
                url=f"{_url(subset)}/pairs?format={kind}",
                media_type=MEDIA_TYPES[kind],
                bytes=path.stat().st_size,
                sha256=sha256,
                rows=subset.rows,
            )
        )
    return files


def _file(parts: Parts, subset: Subset, kind: Format) -> tuple[Path, str]:
    if kind == "parquet":
        return parts.subsets.parquet(subset)
    return parts.subsets.jsonl(subset) if kind == "jsonl" else parts.subsets.arrow(subset)


def _out(subset: Subset) -> SubsetOut:
    return SubsetOut(
        name=subset.name,
        version=subset.version,
        ref=subset.ref,
        dataset=subset.dataset,
        snapshot=subset.snapshot.n,
        snapshot_sha=subset.snapshot.sha,
        rows=subset.rows,
        sha256=subset.sha256,
        created=subset.created,
        url=_url(subset),
    )


def _url(subset: Subset) -> str:
    return f"/v1/subsets/{subset.ref}"
