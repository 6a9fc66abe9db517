"""The columns of a wide table that one may filter and sort by, with their kinds and meanings. Not how to
filter.
"""

from dataclasses import dataclass
from typing import Literal

from ranking.features.wide import pinned_dataset
from ranking.store.blobs import Store
from ranking.store.snapshots import Snapshot

Kind = Literal["text", "number", "boolean", "time"]


@dataclass(frozen=True)
class Field:
    """A column: its name, what may be compared with it, and one sentence on what it says."""

    name: str
    kind: Kind
    meaning: str


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
    Field("rater", "text", "who judged"),
    Field("model_0", "text", "the generator that drew image 0"),
    Field("model_1", "text", "the generator that drew image 1"),
    Field("created_at", "time", "when it was judged, UTC"),
    Field("source", "number", "index of the source file in the dataset"),
    Field("row", "number", "row within the source file, from 0"),
)
_VOTE_FIELDS = (
    Field("votes", "number", "scorers that prefer one of the images; 0 for ties"),
    Field("agree_votes", "number", "scorers that prefer the rater's winner; 0 for ties"),
)


def fields(store: Store, snapshot: Snapshot, dataset: str) -> dict[str, Field]:
    """The fields of the dataset in the snapshot by name, in the wide table's order."""
    pinned_dataset(store, snapshot, dataset)
    return fields_of(snapshot)


def fields_of(snapshot: Snapshot) -> dict[str, Field]:
    """The fields that every dataset of the snapshot has."""
    scored = [field for name in snapshot.scorers for field in _scorer_fields(name)]
    return {field.name: field for field in (*_PAIR_FIELDS, *scored, *_VOTE_FIELDS)}


def _scorer_fields(name: str) -> list[Field]:
    return [
        Field(f"{name}.0", "number", f"the score {name} gives image 0"),
        Field(f"{name}.1", "number", f"the score {name} gives image 1"),
        Field(f"{name}.gap", "number", f"winner − loser by {name}, the winner being the rater's; null for ties"),
        Field(f"{name}.status_0", "text", f"ok, or why {name} has no score for image 0; null if not scored yet"),
        Field(f"{name}.status_1", "text", f"ok, or why {name} has no score for image 1; null if not scored yet"),
    ]
