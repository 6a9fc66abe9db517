"""Who is believed about which image won: the label policies and pair weights of a recipe, as SQL over a wide table."""

from ranking import duck
from ranking.subsets.recipe import Recipe, Relabel, Soft, Vote


def labelled(recipe: Recipe, relation: str) -> str:
    """A query for every column of `relation` (SQL for a FROM clause with a wide table's columns) and these:

    chosen        0 or 1, the winner under the recipe's labels, TINYINT; null where there is none
    preference    the probability that it is the better one, ½ to 1, DOUBLE; 1 unless the labels are soft
    label_source  "human", "random", "relabel:<scorer>", "vote" or "soft:<field>"
    weight        what a training multiplies the pair's loss by, DOUBLE; 1 without weights, null without a value
    """
    chosen, preference, source = _label(recipe)
    return (
        f"SELECT *, ({chosen})::TINYINT AS chosen, ({preference})::DOUBLE AS preference, {source} AS label_source, "
        f"({_weight(recipe)})::DOUBLE AS weight FROM {relation}"
    )


def _label(recipe: Recipe) -> tuple[str, str, str]:
    policy, source = recipe.labels, duck.literal(recipe.label_source)
    if isinstance(policy, Relabel):
        first, second = _scores(policy.relabel)
        return f"CASE WHEN {first} > {second} THEN 0 WHEN {second} > {first} THEN 1 END", "1", source
    if isinstance(policy, Vote):
        # A scorer without both scores, or with two equal ones, abstains.
        votes = " + ".join(
            f"coalesce(({first} > {second})::TINYINT - ({first} < {second})::TINYINT, 0)"
            for first, second in map(_scores, policy.vote)
        )
        if policy.ties == "drop":
            return f"CASE sign({votes}) WHEN 1 THEN 0 WHEN -1 THEN 1 END", "1", source
        return (
            f"CASE sign({votes}) WHEN 1 THEN 0 WHEN -1 THEN 1 ELSE winner END",
            "1",
            f"CASE WHEN ({votes}) = 0 THEN 'human' ELSE {source} END",
        )
    if isinstance(policy, Soft):
        value = f"{duck.identifier(policy.soft)}::DOUBLE"
        # At one half exactly the human's winner stays.
        return f"CASE WHEN {value} >= 0.5 THEN winner ELSE 1 - winner END", f"greatest({value}, 1 - {value})", source
    if policy == "random":
        # A pair without a winner stays out, so that the control differs from the human labels in nothing else.
        toss = f"(('0x' || substr(sha256('labels:{recipe.seed}:' || pair_id), 1, 12))::BIGINT % 2)"
        return f"CASE WHEN winner IS NOT NULL THEN {toss} END", "1", source
    return "winner", "1", source


def _scores(scorer: str) -> tuple[str, str]:
    return duck.identifier(f"{scorer}.0"), duck.identifier(f"{scorer}.1")


def _weight(recipe: Recipe) -> str:
    if recipe.weights is None:
        return "1"
    value = kept = f"{duck.identifier(recipe.weights.field)}::DOUBLE"
    # least and greatest pass over nulls, so one is looked for first.
    if recipe.weights.low is not None:
        kept = f"greatest({kept}, {recipe.weights.low!r}::DOUBLE)"
    if recipe.weights.high is not None:
        kept = f"least({kept}, {recipe.weights.high!r}::DOUBLE)"
    return f"CASE WHEN {value} IS NOT NULL AND NOT isnan({value}) THEN {kept} END"
