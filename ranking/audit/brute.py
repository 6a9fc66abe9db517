"""Queries that give columns of a wide table again, by joins on the names of images and prompts over the views `pairs`,
`every_pair` (those with an image that was taken down, too), `marks` and what is passed in. Slow on purpose: nothing
here knows a position."""

from collections.abc import Sequence
from pathlib import Path

from ranking import duck

COUNTED = """
    WITH sides AS (
        SELECT prompt_id, image_0_uid AS uid, winner = 0 AS won FROM every_pair
        UNION ALL SELECT prompt_id, image_1_uid, winner = 1 FROM every_pair
    ), told AS (
        SELECT prompt_id, uid, count(*) FILTER (won) AS wins, count(*) FILTER (NOT won) AS losses,
            count(*) FILTER (won IS NULL) AS ties
        FROM sides GROUP BY ALL
    ), asked AS (
        SELECT prompt_id, count(*) AS prompt_pairs FROM every_pair GROUP BY prompt_id
    )
    SELECT p.pair_id, a.wins AS wins_0, a.losses AS losses_0, a.ties AS ties_0,
        b.wins AS wins_1, b.losses AS losses_1, b.ties AS ties_1,
        prompt_pairs
    FROM pairs p JOIN asked USING (prompt_id)
    JOIN told a ON a.uid = p.image_0_uid AND a.prompt_id = p.prompt_id
    JOIN told b ON b.uid = p.image_1_uid AND b.prompt_id = p.prompt_id"""
COUNTED_COLUMNS = ("wins_0", "losses_0", "ties_0", "wins_1", "losses_1", "ties_1", "prompt_pairs")
"""Of the label graph, what can be told by counting."""

MARKED = """
    SELECT pair_id, count(kind)::INTEGER AS flags,
        coalesce(bool_or(kind = 'wrong_label'), false) AS flag_wrong_label,
        coalesce(bool_or(kind = 'both_bad'), false) AS flag_both_bad,
        coalesce(bool_or(kind = 'unsafe'), false) AS flag_unsafe,
        coalesce(bool_or(kind = 'duplicate'), false) AS flag_duplicate
    FROM pairs LEFT JOIN marks USING (pair_id) GROUP BY pair_id"""
MARKED_COLUMNS = ("flags", "flag_wrong_label", "flag_both_bad", "flag_unsafe", "flag_duplicate")

FACT_COLUMNS = ("width_0", "height_0", "width_1", "height_1", "same_bytes", "phash_distance")

_SIDES = "CASE p.winner WHEN 0 THEN {0} - {1} WHEN 1 THEN {1} - {0} END"


def scores(paths: Sequence[Path]) -> str:
    """Each pair with the rows of its images among all rows of a scorer: score_0, score_1, gap, place, status_0,
    status_1."""
    nothing = (
        "(SELECT NULL::VARCHAR image_uid, NULL::VARCHAR prompt_id, NULL::FLOAT score, NULL::VARCHAR status LIMIT 0)"
    )
    rows = duck.parquet_scan(paths) if paths else nothing
    word = "CASE WHEN {0}.image_uid IS NULL THEN 'unscored' WHEN {0}.status <> 'ok' THEN {0}.status END"
    return f"""
        SELECT *, CASE WHEN gap IS NOT NULL THEN row_number() OVER (ORDER BY gap DESC NULLS LAST, pair_id) END AS place
        FROM (
            SELECT p.pair_id, a.score AS score_0, b.score AS score_1,
                {_SIDES.format("a.score::DOUBLE", "b.score::DOUBLE")} AS gap,
                {word.format("a")} AS status_0, {word.format("b")} AS status_1
            FROM pairs p
            LEFT JOIN {rows} a ON a.image_uid = p.image_0_uid AND a.prompt_id = p.prompt_id
            LEFT JOIN {rows} b ON b.image_uid = p.image_1_uid AND b.prompt_id = p.prompt_id
        )"""


def score_columns(name: str) -> dict[str, str]:
    """The columns of a scorer in a wide table, each with its value in `scores`."""
    mine = {
        ".0": "score_0",
        ".1": "score_1",
        ".gap": "gap",
        ".rank": "place",
        ".status_0": "status_0",
        ".status_1": "status_1",
    }
    return {f"{name}{ending}": f"pairs.{column}" for ending, column in mine.items()}


def facts(paths: Sequence[Path]) -> str:
    """Each pair with what is known of its two images: FACT_COLUMNS."""
    return f"""
        WITH known AS (
            SELECT image_uid, any_value(sha256) AS sha256, any_value(width) AS width, any_value(height) AS height,
                any_value(phash) AS phash
            FROM {duck.parquet_scan(paths)} GROUP BY image_uid
        )
        SELECT p.pair_id, a.width AS width_0, a.height AS height_0, b.width AS width_1, b.height AS height_1,
            a.sha256 = b.sha256 AS same_bytes, bit_count(xor(a.phash, b.phash)) AS phash_distance
        FROM pairs p
        LEFT JOIN known a ON a.image_uid = p.image_0_uid
        LEFT JOIN known b ON b.image_uid = p.image_1_uid"""


def ratings(paths: Sequence[Path], kind: str) -> str:
    """Each pair with the mean ratings of one kind of its images, and their difference: rated_0, rated_1, gap."""
    return f"""
        WITH shown AS (
            SELECT image_0_uid AS uid, prompt_id FROM pairs UNION SELECT image_1_uid, prompt_id FROM pairs
        ), rated AS (
            SELECT uid, shown.prompt_id, avg(value ORDER BY value) AS value
            FROM shown JOIN {duck.parquet_scan(paths)} r
                ON r.image_uid = uid AND (r.prompt_id IS NULL OR r.prompt_id = shown.prompt_id)
            WHERE r.name = {duck.literal(kind)} GROUP BY ALL
        )
        SELECT p.pair_id, a.value AS rated_0, b.value AS rated_1, {_SIDES.format("a.value", "b.value")} AS gap
        FROM pairs p
        LEFT JOIN rated a ON a.uid = p.image_0_uid AND a.prompt_id = p.prompt_id
        LEFT JOIN rated b ON b.uid = p.image_1_uid AND b.prompt_id = p.prompt_id"""


def rating_columns(kind: str) -> dict[str, str]:
    """The columns of one kind of rating in a wide table, each with its value in `ratings`."""
    return {
        f"rating.{kind}.{part}": f"pairs.{column}"
        for part, column in (("0", "rated_0"), ("1", "rated_1"), ("gap", "gap"))
    }


def hidden(paths: Sequence[Path], dataset: str) -> str:
    """The images of a dataset that the view `takedowns` names, or whose bytes it names by the facts in these files."""
    named = f"SELECT uid FROM takedowns WHERE dataset = {duck.literal(dataset)} AND uid IS NOT NULL"
    if not paths:
        return named
    scan = duck.parquet_scan(paths)
    return f"{named} UNION SELECT image_uid FROM {scan} SEMI JOIN takedowns USING (sha256)"
