"""What flags do to a recipe: which marks leave a pair out, and the words for it. Reads what the snapshot saw, nothing
newer."""

from ranking import duck
from ranking.features.flagged import hidden_images
from ranking.features.pairs import PairTable
from ranking.features.wide import pinned_dataset
from ranking.flags.pinned import pinned_marks, pinned_takedowns
from ranking.flags.words import KINDS
from ranking.subsets.recipe import Recipe, Relabel, Vote


def deciding_kinds(recipe: Recipe) -> tuple[str, ...]:
    """The kinds of marks that leave a pair out of the recipe; none with `flags: keep`.

    "wrong_label" says that the human label is wrong. Where scorers decide instead (`relabel`, or `vote` that drops
    ties), that is no reason to leave the pair out: it is what they are asked for.
    """
    if recipe.flags == "keep":
        return ()
    labels = recipe.labels
    ours = isinstance(labels, Relabel) or (isinstance(labels, Vote) and labels.ties == "drop")
    return tuple(kind for kind in KINDS if not (ours and kind == "wrong_label"))


def unflagged(recipe: Recipe) -> str | None:
    """SQL over a wide table for the pairs that no mark leaves out; None where marks do not count."""
    kinds = deciding_kinds(recipe)
    if set(kinds) == set(KINDS):
        return "flags = 0"
    return f"NOT ({' OR '.join(f'flag_{kind}' for kind in kinds)})" if kinds else None


def told_by(table: PairTable, recipe: Recipe, pair_id: str) -> str:
    """Who flagged a pair that marks leave out of the recipe, as what, when and why."""
    kinds = deciding_kinds(recipe)
    marks = pinned_marks(table.store, table.snapshot.flags, table.dataset)
    with duck.connect() as con:
        con.register("marks", marks)
        rows = con.sql(
            'SELECT kind, "by", created, why FROM marks WHERE pair_id = ? ORDER BY created, id', params=[pair_id]
        )
        said = [row for row in rows.fetchall() if row[0] in kinds]
    words = [
        f"{kind.replace('_', ' ')}, by {by} on {created[:10]}" + (f" ({why})" if why else "")
        for kind, by, created, why in said[:3]
    ]
    more = f"; and {len(said) - 3} more" if len(said) > 3 else ""
    return f"a person flagged it: {'; '.join(words)}{more}"


def taken_away(table: PairTable, pair_id: str) -> str | None:
    """Why a pair of the dataset has no row in the snapshot: which image was taken down, by whom and when. None for a
    pair that is not the dataset's, or whose images may be shown."""
    dataset = pinned_dataset(table.store, table.snapshot, table.dataset)
    hidden = hidden_images(table.store, table.snapshot, dataset)
    paths = dataset.pairs_paths(table.store)
    if not hidden or not paths:
        return None
    with duck.connect() as con:
        query = f"SELECT image_0_uid, image_1_uid FROM {duck.parquet_scan(paths)} WHERE pair_id = ?"
        found = con.sql(query, params=[pair_id]).fetchall()
    gone = [uid for uid in (found[0] if found else ()) if uid in hidden]
    if not gone:
        return None
    for row in pinned_takedowns(table.store, table.snapshot.flags).to_pylist():
        if row["dataset"] == table.dataset and row["uid"] == gone[0]:
            return f"its image {gone[0]} was taken down, by {row['by']} on {row['created'][:10]} ({row['why']})"
    return f"its image {gone[0]} has the bytes of one that was taken down"
