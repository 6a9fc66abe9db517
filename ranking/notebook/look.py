"""Pairs to look at in a notebook: both images as thumbnails within the page, the prompt, labels and scores. HTML that
runs no script and fetches nothing."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from ranking import duck
from ranking.datasets import Dataset
from ranking.errors import PairsieveError
from ranking.features.pairs import PairTable
from ranking.features.wide import pinned_dataset
from ranking.images import Found, ImageReader, decode_rgb
from ranking.images.fetch import url_fetcher
from ranking.images.thumbnails import SIDE, SMALL, shrink
from ranking.settings import load_settings

if TYPE_CHECKING:
    from ranking.confidence.reasons import Reasons

_CONFIDENCE = "label_confidence"


@dataclass(frozen=True)
class Picture:
    """An image as a WebP of at most SIDE pixels, or why there is none."""

    webp: bytes | None
    small: bool
    reason: str = ""


@dataclass(frozen=True)
class PairCard:
    """What is shown of a pair: its row of the wide table, its pictures, scores by scorer, and how far its label is to
    be believed, with reasons; None where that was not asked for or cannot be said."""

    row: dict[str, Any]
    pictures: tuple[Picture, Picture]
    scores: dict[str, tuple[float | None, float | None]]
    confidence: Reasons | None = None

    @property
    def verdict(self) -> str:
        """What the rater said."""
        winner = self.row["winner"]
        return "a tie" if self.row["is_tie"] else "not judged" if winner is None else f"image {winner} is better"


@dataclass(frozen=True)
class Look:
    """Some pairs, to be shown by a notebook."""

    cards: tuple[PairCard, ...]

    def _repr_html_(self) -> str:
        return f'<div style="{_PAGE}">{"".join(map(_card, self.cards)) or "no pairs"}</div>'

    def __repr__(self) -> str:
        lines = [f"{card.row['pair_id']}: {card.verdict}, {card.row['prompt']!r}" for card in self.cards]
        return "\n".join(lines) or "no pairs"


def look_at(table: PairTable, pair_ids: Sequence[str], *, reasons: bool = False) -> Look:
    """The pairs of these ids, in their order. Images are read by pointer, all sources once. With `reasons` the label
    confidence and what it rests on, which is fitted if nobody did so before."""
    columns = ", ".join(map(duck.identifier, _names(table)))
    with table.connect() as con:
        marks = ", ".join("?" for _ in pair_ids) or "NULL"
        query = f"SELECT {columns} FROM {table.relation(_names(table))} WHERE pair_id IN ({marks})"
        rows = {row["pair_id"]: row for row in duck.arrow(con, query, list(pair_ids)).to_pylist()}
    dataset = pinned_dataset(table.store, table.snapshot, table.dataset)
    shown = [rows[pair_id] for pair_id in dict.fromkeys(pair_ids) if pair_id in rows]
    found = _pictures(table, dataset, [row[f"image_{side}_uid"] for row in shown for side in (0, 1)])
    return Look(
        tuple(
            PairCard(
                row,
                (found[row["image_0_uid"]], found[row["image_1_uid"]]),
                {name: (row[f"{name}.0"], row[f"{name}.1"]) for name in table.scorers},
                _confidence(table, row) if reasons else None,
            )
            for row in shown
        )
    )


def _names(table: PairTable) -> list[str]:
    names = ["pair_id", "prompt", "image_0_uid", "image_1_uid", "winner", "is_tie", "rater", "model_0", "model_1"]
    names += [f"{name}.{side}" for name in table.scorers for side in (0, 1)]
    return names


def _confidence(table: PairTable, row: dict[str, Any]) -> Reasons | None:
    if row["winner"] is None or _CONFIDENCE not in table.fields:
        return None
    from ranking.confidence.reasons import reasons

    return reasons(table, row["pair_id"])


def _pictures(table: PairTable, dataset: Dataset, uids: Sequence[str]) -> dict[str, Picture]:
    reader = ImageReader(table.store, dataset, fetch=url_fetcher(load_settings()))
    read = reader.read(uids)
    return {uid: _picture(read.get(uid)) for uid in uids}


def _picture(found: Found) -> Picture:
    try:
        image = decode_rgb(found)
    except PairsieveError as error:
        return Picture(None, False, error.message)
    return Picture(shrink(image, SIDE), max(image.size) <= SMALL)


_PAGE = "font-family: system-ui, sans-serif; font-size: 13px; line-height: 1.45"
_CARD = "margin: 0 0 20px; max-width: 560px"
_IMAGE = (
    f"width: {SIDE}px; height: {SIDE}px; object-fit: contain; display: block; background: #8882; border-radius: 4px"
)
_BOX = f"{_IMAGE}; display: flex; align-items: center; justify-content: center; text-align: center"
_QUIET = "opacity: .65"
_CELL = "padding: 1px 14px 1px 0; text-align: right; font-variant-numeric: tabular-nums; background: none; border: 0"
_HEAD = _CELL.replace("right; font", "left; font")


def _card(card: PairCard) -> str:
    row = card.row
    sides = "".join(_side(card, side) for side in (0, 1))
    said = [card.verdict, *([f"rater {row['rater']}"] if row["rater"] else [])]
    return (
        f'<figure style="{_CARD}"><figcaption style="font-size: 15px; margin: 0 0 8px">{escape(row["prompt"] or "")}'
        f'</figcaption><div style="display: flex; gap: 12px">{sides}</div>'
        f'<div style="margin: 6px 0">{escape(", ".join(said))}'
        f' <code style="{_QUIET}; background: none">{escape(row["pair_id"])}</code></div>'
        f"{_scores(card)}{_why(card.confidence)}</figure>"
    )


def _side(card: PairCard, side: int) -> str:
    picture, won = card.pictures[side], card.row["winner"] == side
    frame = "outline: 3px solid #2a9d5c; outline-offset: 1px" if won else "outline: 1px solid #8884"
    told = f"image {side}{', preferred' if won else ''}"
    if picture.webp is None:
        shown = (
            f'<div style="{_BOX}; {frame}"><span style="{_QUIET}; padding: 12px">{escape(picture.reason)}</span></div>'
        )
    else:
        pixels = "; image-rendering: pixelated" if picture.small else ""
        data = base64.b64encode(picture.webp).decode()
        shown = f'<img alt="{told}" style="{_IMAGE}; {frame}{pixels}" src="data:image/webp;base64,{data}">'
    model = card.row[f"model_{side}"]
    drawn = f' <span style="{_QUIET}">{escape(model)}</span>' if model else ""
    told = f"{'✓ ' if won else ''}{told}{drawn}"
    return f'<div style="width: {SIDE}px">{shown}<div style="margin-top: 5px">{told}</div></div>'


def _scores(card: PairCard) -> str:
    if not card.scores:
        return ""
    lines = "".join(
        f'<tr style="background: none"><td style="{_HEAD}">{escape(name)}</td>'
        f"{_value(first, second)}{_value(second, first)}"
        f'<td style="{_HEAD}; {_QUIET}">{_agrees(card.row["winner"], first, second)}</td></tr>'
        for name, (first, second) in card.scores.items()
    )
    heads = "".join(
        f'<th style="{style}; font-weight: normal; {_QUIET}">{text}</th>'
        for text, style in (("scorer", _HEAD), ("image 0", _CELL), ("image 1", _CELL), ("with the label", _HEAD))
    )
    return (
        f'<table style="border-collapse: collapse; border: 0; margin: 0; font: inherit"><tr>{heads}</tr>{lines}</table>'
    )


def _why(found: Reasons | None) -> str:
    if found is None:
        return ""
    lines = "".join(
        f'<tr style="background: none; vertical-align: top"><td style="{_CELL}">{reason.log_odds:+.2f}</td>'
        f'<td style="{_HEAD}">{escape(reason.text)}</td></tr>'
        for reason in found.reasons
    )
    told = f"the label is right with a probability of {found.confidence:.1%}; log-odds by reason"
    return (
        f'<div style="margin: 8px 0 2px">{told}</div>'
        f'<table style="border-collapse: collapse; border: 0; margin: 0; font: inherit">{lines}</table>'
    )


def _value(score: float | None, other: float | None) -> str:
    if score is None:
        return f'<td style="{_CELL}; {_QUIET}">none</td>'
    weight = "; font-weight: 600" if other is not None and score > other else ""
    return f'<td style="{_CELL}{weight}">{score:.4g}</td>'


def _agrees(winner: int | None, first: float | None, second: float | None) -> str:
    if winner is None or first is None or second is None:
        return ""
    if first == second:
        return "equal"
    return "agrees" if (first > second) == (winner == 0) else "disagrees"
