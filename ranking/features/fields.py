"""The columns of a wide table that one may filter and sort by, with their kinds and meanings. Not how to filter, and
not what is derived from them.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from ranking.features.items import rating_names
from ranking.features.wide import pinned_dataset
from ranking.store.blobs import Store
from ranking.store.snapshots import Snapshot

Kind = Literal["text", "number", "boolean", "time"]
Group = Literal["pair", "prompt", "flags", "labels", "images", "ratings", "scores"]


@dataclass(frozen=True)
class Field:
    """A column: its name, what may be compared with it, one sentence on what it says, and where that comes from: the
    pair itself, the prompt's text, what people flagged, what the labels say of each other, the images' bytes, people's
    ratings, or scorers.

    A derived field has `sql`, an expression over the columns that it `reads`, which are no derived ones. In it stand
    `$low`, `$high`, `$mean` and `$deviation` for the scale of its `scorer`.
    """

    name: str
    kind: Kind
    meaning: str
    group: Group = "pair"
    sql: str | None = None
    reads: tuple[str, ...] = ()
    scorer: str | None = None


_PAIR_FIELDS = (
    Field("pair_id", "text", "id of the pair: a hash of what was judged, by whom and when"),
    Field("prompt_id", "text", "id of the prompt: a hash of its text"),
    Field("prompt", "text", "the text both images were drawn from"),
    Field("image_0_uid", "text", "id of image 0"),
    Field("image_1_uid", "text", "id of image 1"),
    Field("label_0", "number", "1 if image 0 was preferred, 0 if image 1 was, 0.5 for a tie"),
    Field("label_1", "number", "1 if image 1 was preferred, 0 if image 0 was, 0.5 for a tie"),
    Field("is_tie", "boolean", "whether the rater called it a tie"),
    Field("winner", "number", "0 or 1, the image the rater preferred; null for ties"),
    Field("votes_0", "number", "judges for image 0, whole or weighted; null where one person judged"),
    Field("votes_1", "number", "judges for image 1, whole or weighted; null where one person judged"),
    Field("rater", "text", "who judged"),
    Field("model_0", "text", "the generator that drew image 0"),
    Field("model_1", "text", "the generator that drew image 1"),
    Field("created_at", "time", "when it was judged, UTC"),
    Field("source", "number", "index of the source file in the dataset"),
    Field("row", "number", "row within the source file, from 0"),
)
_FLAG_FIELDS = (
    Field("flags", "number", "marks of people against the pair that stand, of all kinds", "flags"),
    Field("flag_wrong_label", "boolean", "whether somebody marked it: the label names the worse image", "flags"),
    Field("flag_both_bad", "boolean", "whether somebody marked it: neither image is fit to be learnt from", "flags"),
    Field("flag_unsafe", "boolean", "whether somebody marked it: it should be shown to nobody", "flags"),
    Field("flag_duplicate", "boolean", "whether somebody marked it: it says the same as another pair", "flags"),
)
_GRAPH_FIELDS = (
    Field("wins_0", "number", "pairs under this prompt that image 0 won", "labels"),
    Field("losses_0", "number", "pairs under this prompt that image 0 lost", "labels"),
    Field("ties_0", "number", "pairs under this prompt that image 0 was in and that were called a tie", "labels"),
    Field("wins_1", "number", "pairs under this prompt that image 1 won", "labels"),
    Field("losses_1", "number", "pairs under this prompt that image 1 lost", "labels"),
    Field("ties_1", "number", "pairs under this prompt that image 1 was in and that were called a tie", "labels"),
    Field(
        "absolute_winner",
        "boolean",
        "whether the winner has several wins, no loss and no tie under the prompt",
        "labels",
    ),
    Field(
        "agreements",
        "number",
        "other judgements of the same two images under the prompt with the same winner",
        "labels",
    ),
    Field(
        "contradictions",
        "number",
        "other judgements of the same two images under the prompt with the other winner",
        "labels",
    ),
    Field(
        "in_cycle",
        "boolean",
        "whether it is on a cycle of wins under the prompt: A beat B, B beat C, C beat A",
        "labels",
    ),
    Field(
        "chain_position",
        "number",
        "place, from 0, in the run of pairs that a rater judged, each sharing an image",
        "labels",
    ),
    Field("chain_length", "number", "pairs in that run; null, like the place, where the rater is unknown", "labels"),
    Field("rater_pairs", "number", "pairs the rater judged in this dataset", "labels"),
    Field("rater_tie_share", "number", "share of the rater's pairs that are ties", "labels"),
    Field("rater_first_share", "number", "share of the rater's winners that are image 0; 0.5 is even-handed", "labels"),
    Field("rater_cycle_share", "number", "share of the rater's verdicts that lie on a cycle", "labels"),
    Field(
        "rater_compared",
        "number",
        "verdicts by others on the same pairs that the rater's can be compared with",
        "labels",
    ),
    Field("rater_agreement", "number", "share of those that said the same; null without any", "labels"),
    Field(
        "model_win_rate_0",
        "number",
        "win rate of the model of image 0 against other models, a tie counting half",
        "labels",
    ),
    Field(
        "model_win_rate_1",
        "number",
        "win rate of the model of image 1 against other models, a tie counting half",
        "labels",
    ),
    Field("prompt_pairs", "number", "pairs under this prompt", "labels"),
    Field(
        "prompt_variants",
        "number",
        "prompts equal to this one up to case, spaces and punctuation, itself included",
        "labels",
    ),
    Field("prompt_cluster", "text", "prompt_id that names its cluster of near-duplicates, the smallest", "labels"),
    Field("prompt_cluster_size", "number", "prompts in that cluster", "labels"),
)
_FACT_FIELDS = (
    Field(
        "width_0",
        "number",
        "pixels; null, like all that follows from the image's bytes, until it was decoded",
        "images",
    ),
    Field("height_0", "number", "pixels", "images"),
    Field("width_1", "number", "pixels", "images"),
    Field("height_1", "number", "pixels", "images"),
    Field("same_bytes", "boolean", "whether the files of both images are the same to the byte", "images"),
    Field(
        "phash_distance",
        "number",
        "bits of 64 in which their perceptual hashes differ; a few for near-duplicates",
        "images",
    ),
    Field("image_copies_0", "number", "images of the dataset with the bytes of image 0, itself included", "images"),
    Field("image_copies_1", "number", "images of the dataset with the bytes of image 1, itself included", "images"),
    Field("image_cluster_0", "number", "number of the cluster of near-duplicates that image 0 is in", "images"),
    Field("image_cluster_1", "number", "number of the cluster of near-duplicates that image 1 is in", "images"),
    Field("image_cluster_size_0", "number", "images in that cluster", "images"),
    Field("image_cluster_size_1", "number", "images in that cluster", "images"),
)
_VOTE_FIELDS = (
    Field("votes", "number", "scorers that prefer one of the images; 0 for ties", "scores"),
    Field("agree_votes", "number", "scorers that prefer the rater's winner; 0 for ties", "scores"),
)


def fields(store: Store, snapshot: Snapshot, dataset: str) -> dict[str, Field]:
    """The fields of the dataset in the snapshot by name, in the wide table's order."""
    pinned = pinned_dataset(store, snapshot, dataset)
    return fields_of(snapshot, rating_names(store, pinned))


def fields_of(snapshot: Snapshot, ratings: Iterable[str] = ()) -> dict[str, Field]:
    """The fields of a dataset of the snapshot that has these kinds of ratings."""
    return known_fields(snapshot.scorers, ratings)


def known_fields(scorers: Iterable[str], ratings: Iterable[str]) -> dict[str, Field]:
    """The fields of a wide table with these scorers and kinds of ratings."""
    rated = [field for name in ratings for field in _rating_fields(name)]
    scored = [field for name in scorers for field in _scorer_fields(name)]
    known = (*_PAIR_FIELDS, *_FLAG_FIELDS, *_GRAPH_FIELDS, *_FACT_FIELDS, *rated, *scored, *_VOTE_FIELDS)
    return {field.name: field for field in known}


def _rating_fields(name: str) -> list[Field]:
    return [
        Field(f"rating.{name}.0", "number", f"what people gave image 0 for {name}, the mean of several", "ratings"),
        Field(f"rating.{name}.1", "number", f"what people gave image 1 for {name}, the mean of several", "ratings"),
        Field(
            f"rating.{name}.gap",
            "number",
            f"winner − loser in {name}, the winner being the rater's; null for ties",
            "ratings",
        ),
    ]


def _scorer_fields(name: str) -> list[Field]:
    return [
        Field(f"{name}.0", "number", f"the score {name} gives image 0", "scores"),
        Field(f"{name}.1", "number", f"the score {name} gives image 1", "scores"),
        Field(
            f"{name}.gap", "number", f"winner − loser by {name}, the winner being the rater's; null for ties", "scores"
        ),
        Field(
            f"{name}.rank",
            "number",
            "place of that gap among all pairs, 1 the largest; null where it is null",
            "scores",
        ),
        Field(
            f"{name}.status_0",
            "text",
            f"why {name} has no score for image 0, or unscored; null where it has one",
            "scores",
        ),
        Field(
            f"{name}.status_1",
            "text",
            f"why {name} has no score for image 1, or unscored; null where it has one",
            "scores",
        ),
    ]
