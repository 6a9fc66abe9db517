"""The pair browser: pages of pairs side by side with what people and scorers say of them, and one pair
large."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from ranking.features.fields import Field
from ranking.flags.words import KINDS, this_person
from service.api.models import PairOut
from service.api.present import pair_out
from service.browse import (
    Listing,
    cursor_at,
    find_pair,
    numeric_fields,
    parse_listing,
    read_page,
    rows_before,
)
from service.dashboard.charts import Bars, Wings, bars, plain_label, wings
from service.dashboard.environment import page
from service.dashboard.evidence import evidence
from service.dashboard.features import features, why_believed
from service.dashboard.flags import standing
from service.dashboard.urls import OPERATORS, State, read_form, read_state
from service.dependencies import Parts, PartsDep, ViewDep
from service.histograms import histogram
from service.problems import ApiProblem
from service.snapshots import Table, View

PAGE = 20
_CHART = (640, 130)
_HEADINGS = {
    "scores": "Scorers",
    "labels": "Other labels",
    "prompt": "The prompt's text",
    "flags": "Flags",
    "images": "Images",
    "ratings": "Ratings",
    "pair": "The pair",
}

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True)
class ScoreRow:
    """One scorer's line under a pair, its sides in the order shown."""

    name: str
    values: tuple[float | None, float | None]
    statuses: tuple[str | None, str | None]
    wings: Wings | None
    best: int | None
    gap: float | None
    zgap: float | None
    agrees: bool | None


@dataclass(frozen=True)
class Card:
    """A pair as it is shown: `sides` says which image stands left and which right, `named` the fields that the listing
    asks for beside the scores, with their values, `marks` the kinds of the marks that stand."""

    pair: PairOut
    sides: tuple[int, int]
    scores: list[ScoreRow]
    url: str
    named: list[tuple[str, object]]
    marks: Sequence[str] = ()


@dataclass(frozen=True)
class Chart:
    """A histogram with its field and what that means; `nulls` pairs have no value of it."""

    field: str
    meaning: str
    bars: Bars
    nulls: int


@router.get("/pairs")
def pairs(request: Request, parts: PartsDep, view: ViewDep) -> Response:
    """A page of the pairs that the URL describes."""
    asked = request.query_params.multi_items()
    canonical = read_form(asked)
    if canonical is not None:
        return RedirectResponse(canonical, 303)
    state = read_state(asked)
    if state.dataset is None and view.datasets:
        state = replace(state, dataset=next(iter(view.tables or view.datasets)))
    dataset = view.dataset(state.dataset)
    if dataset is None or dataset.name not in view.tables:
        return page(request, "pairs_empty.html", dataset=dataset, datasets=list(view.datasets))
    table = view.tables[dataset.name]
    listing = parse_listing(view, table, filters=state.filters, sort=state.sort)
    found = read_page(listing, key=parts.cursor_key, cursor=state.cursor, limit=PAGE)
    rows = found.rows.to_pylist()
    shown = [uid for row in rows for uid in (row["image_0_uid"], row["image_1_uid"])]
    parts.pictures.prepare(dataset, shown, 256)
    # Blind, what others said of a pair is not told either.
    marked = {} if state.blind else parts.flags.kinds_of(dataset.name, [row["pair_id"] for row in rows])
    before = rows_before(listing, rows[0]) if rows else 0
    previous = None
    if before > 0:
        previous = state.at(cursor_at(listing, key=parts.cursor_key, offset=before - PAGE))
    return page(
        request,
        "pairs.html",
        state=state,
        dataset=dataset,
        datasets=list(view.tables),
        fields=_grouped(table.columns.values()),
        operators=OPERATORS,
        sort=listing.sort,
        descending=listing.descending,
        show=next((value for name, value in state.filters if name == "is_tie"), ""),
        cards=[
            replace(_card(view, table, row, state=state, named=listing.fields), marks=marked.get(row["pair_id"], ()))
            for row in rows
        ],
        total=found.total,
        before=before,
        next=state.at(found.next) if found.next else None,
        previous=previous,
        chart=_chart(listing, state),
        chips=state.chips(),
        views=state.shortcuts(view.scorers),
        clear=state.with_filters(()).url(),
        blind_url=replace(state, blind=not state.blind).url(),
        chartable=_grouped(numeric_fields(table.columns.values())),
        gone=parts.flags.taken().of(dataset.name),
        pixelated=is_pixelated(parts, view, dataset.name),
    )


@router.get("/pairs/{pair_id}")
def pair(request: Request, pair_id: str, parts: PartsDep, view: ViewDep, dataset: str | None = None) -> Response:
    """One pair, its images as large as they are."""
    table, row = find_pair(view, pair_id, dataset=dataset)
    card = _card(view, table, row, state=State(table.dataset))
    said = evidence(card.pair, card.sides)
    return page(
        request,
        "pair.html",
        card=card,
        evidence=said,
        features=features(table, card.pair, view.scorers),
        believed=why_believed(table, card.pair),
        confidence_url=State(table.dataset, sort="label_confidence", filters=(("is_tie", "false"),)).url(),
        flags=standing(parts, table.dataset, card.pair.pair_id, [image.uid for image in card.pair.images]),
        kinds=KINDS,
        by=this_person(),
        pixelated=is_pixelated(parts, view, table.dataset),
    )


def _grouped(columns: Iterable[Field]) -> list[tuple[str, list[Field]]]:
    """The fields under the heading of where they come from; scores first, as they are asked for most."""
    groups: dict[str, list[Field]] = {group: [] for group in _HEADINGS}
    for column in columns:
        groups[column.group].append(column)
    return [(_HEADINGS[group], fields) for group, fields in groups.items() if fields]


def is_pixelated(parts: Parts, view: View, dataset: str) -> bool:
    """Whether a dataset's pictures are so small that they are drawn with hard pixels, judged by one of
    them."""
    table = view.tables.get(dataset)
    if table is None or table.sample_uid is None:
        return False
    return parts.pictures.is_small(view.datasets[dataset], table.sample_uid)


def _card(view: View, table: Table, row: dict[str, object], *, state: State, named: Sequence[str] = ()) -> Card:
    shown = pair_out(view, table, row)
    # Blind, half of the pairs change sides, always the same ones: a habit of choosing left must not pay.
    swapped = state.blind and int(shown.pair_id[-1], 16) % 2 == 1
    left, right = sides = (1, 0) if swapped else (0, 1)
    scores = []
    for name, score in shown.scores.items():
        values = ((score.image_0, score.image_1)[left], (score.image_0, score.image_1)[right])
        statuses = ((score.status_0, score.status_1)[left], (score.status_0, score.status_1)[right])
        best = None
        if values[0] is not None and values[1] is not None and values[0] != values[1]:
            best = 0 if values[0] > values[1] else 1
        drawn = wings(*values, table.scales.get(name))
        scores.append(ScoreRow(name, values, statuses, drawn, best, score.gap, score.zgap, score.agrees))
    # Blind, nothing may tell which image somebody preferred.
    told: list[tuple[str, object]] = []
    if not state.blind:
        told = [(name, shown.features[name]) for name in named if name in shown.features]
    return Card(shown, sides, scores, f"/pairs/{shown.pair_id}?dataset={table.dataset}", told)


def _chart(listing: Listing, state: State) -> Chart:
    """The histogram of the field asked for, else of the one sorted by, else of the first scorer's gap."""
    columns = {field.name: field for field in numeric_fields(listing.table.columns.values())}
    if state.hist is not None and state.hist not in columns:
        raise ApiProblem("invalid-parameter", f"There is no histogram of {state.hist!r}.")
    fallback = f"{listing.view.scorers[0]}.gap" if listing.view.scorers else "label_0"
    field = state.hist or (listing.sort if listing.sort in columns else fallback)
    width, height = _CHART
    counted = histogram(listing, field)
    drawn = bars(
        counted,
        width=width,
        height=height,
        href=lambda low, high: state.within(field, low, high),
        text=lambda value: plain_label(value) if value is not None else "",
    )
    return Chart(field, columns[field].meaning, drawn, counted.nulls)
