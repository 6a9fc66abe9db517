"""What a pair's page says beside the scores: what other labels, the images' bytes and people's ratings say of it. Words
only; every number comes with the pair."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from service.api.models import PairOut
from service.dashboard.text import number, percent


@dataclass(frozen=True)
class Beside:
    """One line about both images: what is said, and of each, left first."""

    name: str
    left: str
    right: str


@dataclass(frozen=True)
class Line:
    """One line about the pair, with the address of more of its kind where there is one."""

    name: str
    text: str
    href: str | None = None


@dataclass(frozen=True)
class Evidence:
    """The lines about both images and those about the pair."""

    beside: list[Beside]
    lines: list[Line]


def evidence(pair: PairOut, sides: tuple[int, int]) -> Evidence:
    """What is known of a pair; `sides` says which image stands left."""
    labels, facts = pair.labels, pair.facts
    known: list[tuple[str, list[Any]]] = [
        ("Pairs won under this prompt", _sides(labels, "wins")),
        ("Pairs lost", _sides(labels, "losses")),
        ("Ties", _sides(labels, "ties")),
        ("Win rate of its model", [_share(rate) for rate in _sides(labels, "model_win_rate")]),
    ]
    if facts["width_0"] is not None or facts["width_1"] is not None:
        sizes = zip(_sides(facts, "width"), _sides(facts, "height"), strict=True)
        known += [
            ("Pixels", [f"{width:.0f} × {height:.0f}" if width else None for width, height in sizes]),
            ("Images with the same bytes", _sides(facts, "image_copies")),
            ("Images that look alike", _sides(facts, "image_cluster_size")),
        ]
    if pair.votes_0 is not None or pair.votes_1 is not None:
        known.append(("Judges for it", [pair.votes_0, pair.votes_1]))
    for kind in sorted({name.rpartition(".")[0] for name in pair.ratings}):
        known.append((f"Rated {kind.removeprefix('rating.')}", [pair.ratings[f"{kind}.{side}"] for side in (0, 1)]))
    beside = [Beside(name, *(_text(values[side]) for side in sides)) for name, values in known]
    return Evidence(beside, [line for line in _lines(pair) if line is not None])


def _lines(pair: PairOut) -> list[Line | None]:
    labels, facts = pair.labels, pair.facts
    again = int(labels["agreements"] or 0), int(labels["contradictions"] or 0)
    judged = f"{again[0]} with the same winner, {again[1]} with the other" if any(again) else "no"
    cluster = _address(pair, "prompt_cluster", labels["prompt_cluster"])
    return [
        Line("Same two judged again", judged),
        Line("Consistent", "no: it is on a cycle of wins" if labels["in_cycle"] else "it is on no cycle of wins"),
        _never_lost(pair),
        _chain(labels),
        _rater(pair),
        Line("Prompt", _count(labels["prompt_pairs"], "pair"), _address(pair, "prompt_id", pair.prompt_id)),
        Line("Prompts nearly the same", f"{int(labels['prompt_cluster_size'] or 1) - 1}", cluster)
        if labels["prompt_cluster_size"] not in (None, 1)
        else None,
        Line("The images differ in", _distance(facts)) if facts["phash_distance"] is not None else None,
    ]


def _never_lost(pair: PairOut) -> Line | None:
    if pair.winner is None:
        return None
    return Line(
        "Winner never lost", "yes, in several pairs" if pair.labels["absolute_winner"] else "no, or won only here"
    )


def _chain(labels: dict[str, Any]) -> Line | None:
    if labels["chain_position"] is None:
        return None
    return Line("In the rater's run", f"{labels['chain_position'] + 1:.0f} of {labels['chain_length']:.0f}")


def _rater(pair: PairOut) -> Line | None:
    labels = pair.labels
    if labels["rater_pairs"] is None:
        return None
    said = [_count(labels["rater_pairs"], "pair"), f"{_share(labels['rater_tie_share'])} ties"]
    if labels["rater_first_share"] is not None:
        said.append(f"image 0 in {_share(labels['rater_first_share'])}")
    if labels["rater_agreement"] is not None:
        said.append(f"agrees with others in {_share(labels['rater_agreement'])} of {labels['rater_compared']:.0f}")
    return Line("The rater's record", ", ".join(said), _address(pair, "rater", pair.rater))


def _distance(facts: dict[str, Any]) -> str:
    if facts["same_bytes"]:
        return "nothing: they are the same file"
    return f"{facts['phash_distance']:.0f} of the 64 bits of their perceptual hashes"


def _address(pair: PairOut, name: str, value: Any) -> str | None:
    return f"/pairs?{urlencode({'dataset': pair.dataset, name: value})}" if value else None


def _sides(values: dict[str, Any], name: str) -> list[Any]:
    return [values[f"{name}_0"], values[f"{name}_1"]]


def _share(value: Any) -> str:
    return percent(value, 1) if value is not None else "–"


def _count(value: Any, word: str) -> str:
    return f"{int(value or 0):,} {word}{'' if value == 1 else 's'}"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else number(value)
