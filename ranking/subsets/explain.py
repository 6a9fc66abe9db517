"""Why a recipe takes a pair or does not, at which stage, and what would change it. Selects nothing itself."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from ranking import duck
from ranking.errors import NotFoundError
from ranking.query import And, FilterNode, Leaf, Not, compile_filter
from ranking.subsets.caps import refuse
from ranking.subsets.contradictions import said
from ranking.subsets.flagged import taken_away, told_by
from ranking.subsets.pool import told
from ranking.subsets.recipe import Relabel, Soft, Vote
from ranking.subsets.selection import Selection, Stage


@dataclass(frozen=True)
class Explanation:
    """Why a recipe takes a pair or does not: `reason` is one sentence, `stage` where it was decided (a key of the
    recipe, "metric" or "take"), `change` what would turn it round, "" if nothing in the recipe alone would. `rank`
    (1 = best, among the `eligible` pairs) and `metric` are None for a pair that is not eligible. `inputs` are what the
    recipe looked at: the fields it names and the scores its metric reads.
    """

    pair_id: str
    taken: bool
    metric: float | None
    rank: int | None
    eligible: int
    reason: str
    stage: str = ""
    change: str = ""
    inputs: dict[str, Any] = field(default_factory=dict)


def explain_pair(selection: Selection, pair_id: str) -> Explanation:
    """What the selection did with the pair; NotFoundError if the dataset has no such pair."""
    table = selection.table
    found = duck.arrow(
        selection.con, f"SELECT {', '.join(_read(selection))} FROM labelled WHERE pair_id = ?", [pair_id]
    )
    if not found.num_rows:
        gone = taken_away(table, pair_id)
        if gone is not None:
            return Explanation(pair_id, False, None, None, selection.eligible, gone, "take-down")
        raise NotFoundError(f"dataset {table.dataset} has no pair {pair_id} in snapshot {table.snapshot.n}")
    (row,) = found.to_pylist()
    position = row.pop("position")
    ((metric, fell),) = selection.con.execute(
        "SELECT metric, fell FROM judged WHERE position = ?", [position]
    ).fetchall()
    if fell:
        stage = selection.stages[fell - 1]
        reason, change = _fallen(selection, stage, row, position, pair_id)
        known = None if stage.name == "metric" else metric
        return Explanation(pair_id, False, known, None, selection.eligible, reason, stage.name, change, _shown(row))
    return _ranked(selection, Explanation(pair_id, False, metric, None, selection.eligible, "", inputs=_shown(row)))


def _read(selection: Selection) -> list[str]:
    """The columns that decide about a pair."""
    recipe, names = selection.recipe, ["pair_id", "winner", "is_tie", "phash_distance", *selection.recipe.fields]
    for scorer in dict.fromkeys((*recipe.metric.uses.scorers, *recipe.scorers)):
        names += [f"{scorer}.{part}" for part in ("0", "1", "status_0", "status_1")]
    return [*map(duck.identifier, dict.fromkeys(names)), "chosen", "preference", "weight", "position"]


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    """What is worth showing of it: no status of a score that is there, nothing that says nothing."""
    plain = {"preference": 1.0, "weight": 1.0, "phash_distance": None, "is_tie": False}
    return {
        name: value
        for name, value in row.items()
        if name != "pair_id"
        and not (".status_" in name and value is None)
        and not (name in plain and value == plain[name])
    }


def _fallen(selection: Selection, stage: Stage, row: dict[str, Any], position: int, pair_id: str) -> tuple[str, str]:
    recipe = selection.recipe
    if stage.name == "where":
        return _filtered(selection, row, position)
    if stage.name == "flags":
        return told_by(selection.table, recipe, pair_id), "set flags: keep, or withdraw the mark"
    if stage.name == "near_duplicates.distance":
        bits = row["phash_distance"]
        least = recipe.near_duplicates.distance if recipe.near_duplicates else None
        return (
            f"its images differ in {bits} of 64 bits, and near_duplicates.distance wants {least}",
            f"lower near_duplicates.distance to {bits}" if bits else "take near_duplicates.distance away",
        )
    if stage.name == "labels":
        return _undecided(selection, row), "other labels may give it a winner" if row["is_tie"] else ""
    if stage.name == "weights" and recipe.weights:
        return f"it has no weight: {recipe.weights.field} is null", "take the weights away"
    if stage.name == "metric":
        lacking = [
            *_unscored(row, recipe.metric.uses.scorers),
            *(f"{name} is null" for name in recipe.metric.uses.features if row[name] is None),
        ]
        why = ", ".join(lacking) or f"{recipe.metric.name} has no value for it"
        return f"it has no metric: {why}", ""
    return f"it does not pass {stage.name}", ""


def _unscored(row: dict[str, Any], scorers: tuple[str, ...]) -> Iterator[str]:
    for scorer in scorers:
        for side in (0, 1):
            if row[f"{scorer}.{side}"] is None:
                status = str(row[f"{scorer}.status_{side}"]).replace("_", " ")
                yield f"{scorer} has no score for image {side} ({status})"


def _undecided(selection: Selection, row: dict[str, Any]) -> str:
    policy = selection.recipe.labels
    none = f"it has no winner by {selection.recipe.label_source} labels"
    if isinstance(policy, Relabel):
        lacking = ", ".join(_unscored(row, (policy.relabel,)))
        score = row[f"{policy.relabel}.0"]
        return f"{none}: {lacking or f'{policy.relabel} gives both images {score:.6g}'}"
    if isinstance(policy, Vote):
        first = sum(_scores(row, scorer, 0) > _scores(row, scorer, 1) for scorer in policy.vote)
        second = sum(_scores(row, scorer, 1) > _scores(row, scorer, 0) for scorer in policy.vote)
        return f"{none}: {first} of {len(policy.vote)} scorers prefer image 0 and {second} image 1"
    if isinstance(policy, Soft) and row[policy.soft] is None:
        return f"{none}: {policy.soft} is null"
    return f"{none}: the rater called it a tie"


def _scores(row: dict[str, Any], scorer: str, side: int) -> float:
    """The score, as one that no other is above or below where one of the two is missing."""
    both = row[f"{scorer}.0"], row[f"{scorer}.1"]
    return math.nan if None in both else float(both[side])


def _filtered(selection: Selection, row: dict[str, Any], position: int) -> tuple[str, str]:
    """The comparisons that leave the pair out, by name."""

    def holds(leaf: Leaf) -> bool | None:
        condition, params = compile_filter(leaf, selection.table.fields)
        query = f"SELECT {condition} FROM labelled WHERE position = {position}"
        found: bool | None = selection.con.execute(query, params).fetchall()[0][0]
        return found

    failing = list(_failing(selection.recipe.where, "where", holds))
    said_of = [
        f"{place}: {leaf.field} is {_value(row[leaf.field])}, and {said(leaf)} is {'wanted' if wanted else 'not'}"
        for place, leaf, wanted in failing
    ]
    reason = "the filter leaves it out at " + "; at ".join(said_of)
    ways = [way for place, leaf, wanted in failing if (way := _way(place, leaf, row[leaf.field], wanted=wanted))]
    return reason, " and ".join(ways) if len(ways) == len(failing) else ""


def _failing(
    node: FilterNode | None, place: str, holds: Any, *, wanted: bool = True
) -> Iterator[tuple[str, Leaf, bool]]:
    """The comparisons to be blamed that a filter is not `wanted`: every failing one of those that must all hold, all of
    those of which one must."""
    if isinstance(node, Leaf):
        if holds(node) is not wanted:
            yield place, node, wanted
    elif isinstance(node, Not):
        yield from _failing(node.part, f"{place}.not", holds, wanted=not wanted)
    elif node is not None:
        word = "and" if isinstance(node, And) else "or"
        parts = [
            list(_failing(part, f"{place}.{word}[{index}]", holds, wanted=wanted))
            for index, part in enumerate(node.parts)
        ]
        if isinstance(node, And) is wanted or all(parts):
            yield from (each for part in parts for each in part)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "null" if value is None else f"{value:.6g}" if isinstance(value, float) else repr(value)


def _way(place: str, leaf: Leaf, value: Any, *, wanted: bool) -> str:
    if not wanted or leaf.op not in ("gt", "gte", "lt", "lte") or not isinstance(value, int | float):
        return ""
    looser = leaf.model_copy(update={"op": leaf.op[:2] + "e", "value": value})
    return f"loosen {place} to {said(looser)}"


def _ranked(selection: Selection, about: Explanation) -> Explanation:
    """What the ranking, the caps and the take did with an eligible pair."""
    con, recipe = selection.con, selection.recipe
    better = "metric > $metric" if recipe.take.end == "top" else "metric < $metric"
    query = f"""SELECT 1 + count(*) FROM judged LEFT JOIN labelled USING (position)
                WHERE fell = 0 AND ({better} OR (metric = $metric AND pair_id < $pair))"""
    ((place,),) = con.execute(query, {"metric": about.metric, "pair": about.pair_id}).fetchall()
    about = replace(about, rank=place)
    selection.extend(place)
    ((rank,),) = con.execute("SELECT max(rank) FROM taken WHERE place = ?", [place]).fetchall()
    name = f"its {recipe.metric.name} {about.metric:.6g} ranks {place:,} of {selection.eligible:,}"
    if recipe.diversity and not con.execute("SELECT 1 FROM refused WHERE place = ?", [place]).fetchall():
        found = told(con, recipe.diversity, place=place, want=selection.want)
        said_of = f"{'' if rank is None else 'taken: '}{name}; {found.reason}"
        return replace(about, taken=rank is not None, stage="diversity", reason=said_of, change=found.change)
    if rank is not None:
        why = f"taken: {name}, and it is number {rank:,} of {selection.taken:,} in the subset"
        return replace(about, taken=True, stage="take", reason=why, change=_to_lose(selection, rank))
    refused = con.execute("SELECT cap FROM refused WHERE place = ?", [place]).fetchall()
    if refused:
        return _capped(selection, about, refused[0][0], name)
    ((ahead,),) = con.execute(
        "SELECT count(*) FROM ordered ANTI JOIN refused USING (place) WHERE place <= ?", [place]
    ).fetchall()
    ((last, worst),) = con.sql(
        "SELECT place, metric FROM ordered JOIN taken USING (place) ORDER BY place DESC LIMIT 1"
    ).fetchall() or [(None, None)]
    end = f"; the take ends at rank {last:,}, {worst:.6g}" if last else "; nothing is taken"
    return replace(about, stage="take", reason=f"{name}{end}", change=_to_take(selection, about, ahead))


def _to_lose(selection: Selection, rank: int) -> str:
    if selection.recipe.take.threshold is not None or rank == 1:
        return ""
    return f"it stays in until fewer than {rank:,} are taken"


def _to_take(selection: Selection, about: Explanation, count: int) -> str:
    """How much to take so that the pair, of which `count` − 1 better ones get past the caps, is in."""
    take = selection.recipe.take
    if take.threshold is not None:
        return f"{'lower' if take.end == 'top' else 'raise'} take.threshold to {about.metric!r}"
    if take.count is not None:
        return f"raise take.count to {count:,}"
    return f"raise take.percent to {math.ceil(1e4 * 100 * count / selection.eligible) / 1e4:g}"


def _capped(selection: Selection, about: Explanation, cap: int, name: str) -> Explanation:
    """A pair whose group was full; what is said to help was tried out."""
    con, limit, place = selection.con, selection.limits[cap], about.rank
    ((full, group),) = con.execute(
        f"""SELECT count(*) FILTER (refused.place IS NULL), count(*)
            FROM ordered LEFT JOIN refused USING (place)
            WHERE ordered.place < $place AND (refused.cap IS NULL OR refused.cap = {cap})
            AND group_{cap} = (SELECT group_{cap} FROM ordered WHERE place = $place)""",
        {"place": place},
    ).fetchall()
    pairs = "better pair" if full == 1 else "better pairs"
    about = replace(about, stage=limit.place, reason=f"{name}, but its {limit.group} already has {full:,} {pairs}")
    limits = [replace(each, most=group + 1) if each is limit else each for each in selection.limits]
    refuse(con, limits)
    ((inside, ahead),) = con.execute(
        """SELECT count(*) FILTER (place = $place), count(*) FROM ordered ANTI JOIN refused USING (place)
           WHERE place <= $place""",
        {"place": place},
    ).fetchall()
    if not inside:
        return about  # another group of it is full too
    raised = f"{group + 1:,}"
    if limit.place.endswith(".share"):
        raised = f"{math.ceil(1e4 * (group + 1) / selection.want) / 1e4:g}"
    change = f"raise {limit.place} to {raised}"
    if ahead > selection.want:
        change += f" and {_to_take(selection, about, ahead)}"
    return replace(about, change=change)
