"""The JSON that /v1 answers with. Numbers are finite or null; nothing here knows how it was found."""

from __future__ import annotations

import math
from collections import Counter
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field


def finite(value: Any) -> Any:
    """`value`, with NaN and infinities (also inside lists and maps) as None: JSON has no other numbers."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value


Number = Annotated[float | None, BeforeValidator(finite)]
Feature = Annotated[bool | int | float | str | None, BeforeValidator(finite)]
Json = Annotated[dict[str, Any], BeforeValidator(finite)]


class DatasetOut(BaseModel):
    """A dataset at its newest revision. `snapshot` is the newest snapshot if that holds it, else null."""

    name: str
    revision: int
    revision_sha: str
    origin_sha: str = Field(description="of the first revision: the same for as long as it is the same dataset")
    format: str
    pairs: int
    items: int = Field(description="unique (image, prompt)")
    skipped: dict[str, int] = Field(description="rows left out at ingest, by reason")
    created: str
    snapshot: int | None


class DatasetList(BaseModel):
    items: list[DatasetOut]
    snapshot: int | None


class FieldOut(BaseModel):
    """What to filter and sort by."""

    name: str
    kind: Literal["text", "number", "boolean", "time"]
    meaning: str
    group: str = Field(description="where it comes from: pair, prompt, flags, labels, images, ratings or scores")
    made: Literal["stored", "derived", "kept"] = Field(
        description="stored in the wide table; derived from such columns when named; or computed when first named, "
        "which may take a while (409 not-computed), and kept"
    )


class DatasetDetail(DatasetOut):
    fields: list[FieldOut] = Field(description="what /v1/pairs may filter and sort by")


class ImageOut(BaseModel):
    """One side of a pair."""

    uid: str
    url: str
    thumbnail_url: str
    label: Number = Field(description="1 preferred, 0 not, 0.5 tie")
    model: str | None


class ScoreOut(BaseModel):
    """What one scorer says of a pair. `gap` is winner − loser by the human label, null for ties."""

    image_0: Number
    image_1: Number
    gap: Number
    zgap: Number = Field(description="the gap in units of the deviation of the scorer's scores of the dataset's items")
    agrees: bool | None = Field(description="whether it prefers the human's winner; null if there is none or no gap")
    rank: int | None = Field(description="place of the gap among all pairs of the dataset, 1 the largest")
    status_0: str | None = Field(description="why there is no score for image 0; null where there is one")
    status_1: str | None = Field(description="why there is no score for image 1; null where there is one")


class PairOut(BaseModel):
    """A pair with everything the snapshot knows of it."""

    pair_id: str
    dataset: str
    prompt_id: str
    prompt: str | None
    images: list[ImageOut] = Field(min_length=2, max_length=2)
    winner: Literal[0, 1] | None
    is_tie: bool | None
    rater: str | None
    created_at: str | None = Field(description="UTC")
    scores: dict[str, ScoreOut]
    votes: int
    agree_votes: int
    votes_0: Number = Field(description="judges for image 0; null where one person judged")
    votes_1: Number = Field(description="judges for image 1; null where one person judged")
    labels: dict[str, Feature] = Field(description="what the labels of the dataset say of each other")
    facts: dict[str, Feature] = Field(description="what the bytes of the images say; null until they were decoded")
    ratings: dict[str, Feature] = Field(description="what people gave the images, by kind")
    features: dict[str, Feature] = Field(
        description="fields that are no columns of the wide table: those that the query named, with what comes with "
        "them; of one pair all that are computed already"
    )


class PairPage(BaseModel):
    """A page of pairs. `next` is null on the last page and nowhere else."""

    items: list[PairOut]
    next: str | None
    next_url: str | None
    total: int
    total_kind: Literal["exact"] = "exact"
    snapshot: int | None


class PairDetail(PairOut):
    snapshot: int


class ReasonOut(BaseModel):
    """One kind of evidence for or against a label."""

    kind: str
    text: str
    log_odds: Number = Field(description="what it adds, natural logarithm; positive where it speaks for the label")


class ConfidenceOut(BaseModel):
    """How likely a pair's label is right; log(p / (1 − p)) is the sum of the reasons' log-odds."""

    pair_id: str
    winner: int
    label_confidence: Number
    preference_0: Number = Field(description="that image 0 is the better one, given all but this pair's own label")
    reasons: list[ReasonOut]
    snapshot: int


class TallyOut(BaseModel):
    """How a scorer fared with the items of a dataset."""

    scored: int
    low: Number = Field(description="the least score; null without any")
    high: Number = Field(description="the greatest score")
    without: dict[str, int] = Field(description="items without a score, by the reason")


class WarningOut(BaseModel):
    """What people should know of a scorer before they rank by it."""

    dataset: str
    code: str = Field(description="constant-scores or scores-missing")
    message: str
    todo: str


class ScorerOut(BaseModel):
    """A scorer of the newest snapshot."""

    name: str
    scorer_id: str
    kind: Literal["computed", "imported"] = Field(description="imported: by `scores import`, from somebody's table")
    units: int
    rows: int
    bad_rows: int
    scales: dict[str, list[Number]] = Field(description="1st and 99th percentile of its scores, by dataset")
    tallies: dict[str, TallyOut] = Field(description="how it fared, by dataset")
    warnings: list[WarningOut]

    @property
    def without(self) -> dict[str, int]:
        """Items without a score in all datasets, by the reason, the commonest first."""
        counts: Counter[str] = Counter()
        for tally in self.tallies.values():
            counts.update(tally.without)
        return dict(counts.most_common())


class ScorerList(BaseModel):
    items: list[ScorerOut]
    snapshot: int | None


class SubsetOut(BaseModel):
    name: str
    version: str
    ref: str
    dataset: str
    snapshot: int
    snapshot_sha: str
    rows: int
    sha256: str = Field(description="of the Parquet file; with recipe and snapshot_sha the version follows from it")
    created: str
    url: str


class SubsetList(BaseModel):
    items: list[SubsetOut]


class FileOut(BaseModel):
    """An immutable file. `sha256` is in its ETag too."""

    url: str
    media_type: str
    bytes: int
    sha256: str
    rows: int


class SubsetDetail(SubsetOut):
    recipe: Json
    statistics: Json
    files: list[FileOut]


class SubsetPair(BaseModel):
    pair_id: str
    rank: int
    metric: Number
    prompt_id: str
    prompt: str | None
    winner_uid: str
    loser_uid: str
    label_source: str
    preference: Number = Field(description="probability that the winner is the better image; 1 unless labels are soft")
    weight: Number = Field(description="what a training multiplies the pair's loss by; 1 unless the recipe has weights")
    winner_url: str
    loser_url: str


class SubsetPage(BaseModel):
    """A page of a subset's pairs by rank. `next` is null on the last page and nowhere else."""

    items: list[SubsetPair]
    next: str | None
    next_url: str | None
    total: int
    total_kind: Literal["exact"] = "exact"
    snapshot: int


class ChangeOut(BaseModel):
    """A key of the recipe, with dots, that differs; null where a subset's recipe does not have it."""

    key: str
    a: Any
    b: Any


class MovedOut(BaseModel):
    pair_id: str
    prompt: str | None
    rank_a: int
    rank_b: int
    flipped: bool = Field(description="whether b has the other image for a winner")


class ComparisonOut(BaseModel):
    """Subset `a`, that of the address, beside subset `b`."""

    a: str
    b: str
    rows_a: int
    rows_b: int
    common: int
    only_a: int
    only_b: int
    jaccard: Number = Field(description="common ÷ pairs in either")
    overlap: Number = Field(description="common ÷ pairs of the smaller one")
    spearman: Number = Field(description="rank correlation ρ of the common pairs; null below two")
    kendall: Number = Field(description="rank correlation τ; null below two and above two million")
    flipped: int = Field(description="common pairs with the other image for a winner")
    common_prompts: int
    same_snapshot: bool
    recipe: list[ChangeOut]
    statistics: dict[str, list[Any]] = Field(description="numbers of both, [a, b], by name")
    moved: list[MovedOut] = Field(description="common pairs whose place moved most, as shares of the subsets' lengths")


class RankedPair(SubsetPair):
    """A pair as a recipe ranks it."""

    taken: bool = Field(description="whether the recipe takes it; a cap may leave out a better one than the last taken")


class RecipeCheck(BaseModel):
    """What a recipe would select. `counts`: pairs in all, how many are left after each stage, eligible, wanted, left
    out by a cap, and taken."""

    recipe: Json = Field(description="with every default spelled out, as a subset records it")
    snapshot: int
    counts: Json
    items: list[RankedPair] = Field(description="the best eligible pairs, by rank")


class MetricOut(BaseModel):
    """A quality metric: features of a pair → one number, higher is better."""

    name: str
    formula: str
    range: str
    source: str
    provenance: str = Field(description="verified, secondary, reconstruction or ours: how well the formula is known")
    provenance_meaning: str
    nulls: str = Field(description='ends the sentence "a pair has no metric if it has no winner, or …"')
    options: Json = Field(description="JSON schema of what a recipe's `metric` holds beside `name`")


class MetricList(BaseModel):
    items: list[MetricOut]


class JobOut(BaseModel):
    """A scoring job; a unit is one slice by one scorer, items are counted once for each scorer."""

    id: str
    dataset: str
    revision: int
    scorers: list[str]
    state: Literal["open", "done", "dead"]
    created: str
    units_total: int
    units_done: int
    units_dead: int
    items_total: int
    items_done: int


class DeadSlice(BaseModel):
    unit: str
    reason: str
    created: str


class JobDetail(JobOut):
    dead: list[DeadSlice]


class JobList(BaseModel):
    items: list[JobOut]


class SampleOut(BaseModel):
    """An image that a model drew."""

    index: int
    prompt: str
    seed: int
    url: str


class SampleList(BaseModel):
    items: list[SampleOut]


class Check(BaseModel):
    ok: bool
    detail: str


class Health(BaseModel):
    status: Literal["ok", "unavailable"]
    checks: dict[str, Check]
