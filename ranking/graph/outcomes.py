"""What the labels say of each image under its prompt, of each rater and of each model, in SQL. Knows no file."""

import duckdb

_ITEMS = """
CREATE TABLE outcomes AS
SELECT
    item,
    count(*) FILTER (winner = side)::INTEGER AS wins,
    count(*) FILTER (winner <> side)::INTEGER AS losses,
    count(*) FILTER (winner IS NULL)::INTEGER AS ties
FROM (
    SELECT item_0 AS item, 0 AS side, winner FROM judged
    UNION ALL
    SELECT item_1, 1, winner FROM judged
) GROUP BY item
"""

# How often the two images of a pair met under its prompt, whichever stood first, and who won.
_MEETINGS = """
CREATE TABLE meetings AS
SELECT
    least(item_0, item_1) AS low, greatest(item_0, item_1) AS high,
    count(*) AS met,
    count(*) FILTER (won = low) AS low_won,
    count(*) FILTER (won = high) AS high_won
FROM judged GROUP BY ALL HAVING count(*) > 1
"""

# Only what others said counts: whoever judges a pair twice does not confirm himself.
_AGREEMENT = """
CREATE TABLE agreement AS
WITH verdicts AS (
    SELECT low, high, rater, won
    FROM judged JOIN meetings ON low = least(item_0, item_1) AND high = greatest(item_0, item_1)
    WHERE winner IS NOT NULL AND rater IS NOT NULL
), by_rater AS (
    SELECT low, high, rater, count(*) AS n, count(*) FILTER (won = low) AS for_low FROM verdicts GROUP BY ALL
), by_pair AS (
    SELECT low, high, sum(n) AS n, sum(for_low) AS for_low FROM by_rater GROUP BY ALL
)
SELECT
    rater,
    sum(by_rater.n * (by_pair.n - by_rater.n)) AS compared,
    sum(by_rater.for_low * (by_pair.for_low - by_rater.for_low)
        + (by_rater.n - by_rater.for_low)
        * (by_pair.n - by_pair.for_low - by_rater.n + by_rater.for_low)) AS agreed
FROM by_rater JOIN by_pair USING (low, high) GROUP BY rater HAVING compared > 0
"""

_RATERS = """
CREATE TABLE raters AS
WITH counted AS (
    SELECT
        rater,
        count(*) AS pairs,
        count(*) FILTER (winner IS NULL) AS ties,
        count(*) FILTER (winner = 0) AS first_won,
        count(*) FILTER (in_cycle) AS in_cycles
    FROM judged JOIN cycles USING (n) WHERE rater IS NOT NULL GROUP BY rater
)
SELECT
    rater, pairs, ties,
    first_won / nullif(pairs - ties, 0) AS first_share,
    in_cycles / nullif(pairs - ties, 0) AS cycle_share,
    coalesce(compared, 0)::BIGINT AS compared,
    agreed / compared AS agreement
FROM counted LEFT JOIN agreement USING (rater)
"""

_MODELS = """
CREATE TABLE matches AS
SELECT model, opponent, count(*) AS pairs, sum(score) AS score, count(*) FILTER (winner IS NULL) AS ties
FROM (
    SELECT model_0 AS model, model_1 AS opponent, winner,
        CASE winner WHEN 0 THEN 1 WHEN 1 THEN 0 ELSE 0.5 END AS score FROM judged
    UNION ALL
    SELECT model_1, model_0, winner, CASE winner WHEN 1 THEN 1 WHEN 0 THEN 0 ELSE 0.5 END FROM judged
) WHERE model IS NOT NULL AND opponent IS NOT NULL AND model <> opponent
GROUP BY ALL
"""

_WIN_RATES = """
CREATE TABLE win_rates AS
SELECT model, sum(pairs)::BIGINT AS pairs, sum(score) / sum(pairs) AS win_rate FROM matches GROUP BY model
"""

_CHAINS = """
CREATE TABLE chains AS
WITH steps AS (
    SELECT n, rater, prompt, moment, item_0, item_1,
        lag([item_0, item_1]) OVER turn AS before
    FROM judged WHERE rater IS NOT NULL WINDOW turn AS (PARTITION BY rater, prompt ORDER BY moment, n)
), chained AS (
    SELECT n, rater, prompt, moment,
        sum(CASE WHEN item_0 IN (before[1], before[2]) OR item_1 IN (before[1], before[2]) THEN 0 ELSE 1 END)
            OVER (PARTITION BY rater, prompt ORDER BY moment, n ROWS UNBOUNDED PRECEDING) AS chain
    FROM steps
)
SELECT
    n,
    row_number() OVER (PARTITION BY rater, prompt, chain ORDER BY moment, n)::INTEGER - 1 AS position,
    count(*) OVER (PARTITION BY rater, prompt, chain)::INTEGER AS length
FROM chained
"""

_PROMPTS = """
CREATE TABLE prompt_counts AS SELECT prompt, count(*)::INTEGER AS pairs FROM judged GROUP BY prompt
"""


def count_images(con: duckdb.DuckDBPyConnection) -> None:
    """From `judged`: `outcomes` (wins, losses and ties of each item), `meetings` (two images that met more than once
    under one prompt, and who won) and `prompt_counts`."""
    for statement in (_ITEMS, _MEETINGS, _PROMPTS):
        con.execute(statement)


def count_chains(con: duckdb.DuckDBPyConnection) -> None:
    """From `judged`: `chains`, for each pair of a known rater its position (from 0) in a chain and the chain's length.

    A chain is what one rater judged in a row under one prompt, each pair sharing an image with the one before: how
    the web app that collected Pick-a-Pic asks, which shows the winner again beside a new image.
    """
    con.execute(_CHAINS)


def count_raters(con: duckdb.DuckDBPyConnection) -> None:
    """From `judged`, `meetings` and `cycles` (n, in_cycle): `raters`, one row for each known rater."""
    con.execute(_AGREEMENT)
    con.execute(_RATERS)


def count_models(con: duckdb.DuckDBPyConnection) -> None:
    """From `judged`: `matches` between different models (a tie scores ½) and the `win_rates` that follow."""
    con.execute(_MODELS)
    con.execute(_WIN_RATES)
