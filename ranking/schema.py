"""The columns of every table that crosses a room's door, as Arrow schemas. Not how they are computed."""

import pyarrow as pa

PAIRS: pa.Schema = pa.schema(
    [
        ("pair_id", pa.string()),
        ("prompt_id", pa.string()),
        ("prompt", pa.string()),
        ("image_0_uid", pa.string()),
        ("image_1_uid", pa.string()),
        ("label_0", pa.float64()),
        ("label_1", pa.float64()),
        ("is_tie", pa.bool_()),
        ("winner", pa.int8()),  # 0 or 1; null for ties
        ("votes_0", pa.float64()),  # judges for image 0, whole or weighted; null where one person judged
        ("votes_1", pa.float64()),
        ("rater", pa.string()),
        ("model_0", pa.string()),
        ("model_1", pa.string()),
        ("created_at", pa.timestamp("us")),  # UTC, without a zone
        ("source", pa.int32()),  # index into the dataset's sources
        ("row", pa.int64()),  # row within the source file, from 0
        ("item_0", pa.int64()),  # (image 0, prompt) as a position in the dataset's items, over all revisions
        ("item_1", pa.int64()),
    ]
)
"""One row per pair, in the order of the sources."""

ITEMS: pa.Schema = pa.schema(
    [
        ("image_uid", pa.string()),
        ("prompt_id", pa.string()),
        ("prompt", pa.string()),
        ("source", pa.int32()),
        # Where the bytes are: a cell of the source, or a file below its root or an address, or nowhere.
        ("row_group", pa.int32()),
        ("row", pa.int64()),  # row within the source file (not within the row group), from 0
        ("column", pa.string()),  # dotted where nested
        ("file", pa.string()),
        ("slice", pa.string()),  # the unit this item is scored in
    ]
)
"""One row per unique (image, prompt), at the place where it first appears."""

RATED: pa.Schema = pa.schema(
    [
        ("image_uid", pa.string()),
        ("prompt_id", pa.string()),  # null: the rating is of the image under any prompt
        ("name", pa.string()),  # for example richhf-overall
        ("value", pa.float64()),  # finite; larger is better
    ]
)
"""One number that people gave one image of the dataset."""

SCORES: pa.Schema = pa.schema(
    [
        ("image_uid", pa.string()),
        ("prompt_id", pa.string()),
        ("score", pa.float32()),  # null unless status is "ok"; never NaN or infinite
        ("status", pa.string()),
    ]
)
"""One row per item of a slice, as one scorer commits it."""

FACTS: pa.Schema = pa.schema(
    [
        ("image_uid", pa.string()),
        ("bytes", pa.int64()),  # the size of the stored file; null where there is none or it was not read
        ("sha256", pa.string()),  # of the stored bytes, 64 hex digits; null where they were not read
        ("width", pa.int32()),  # pixels as stored; null, like the next two, unless status is "ok"
        ("height", pa.int32()),
        ("phash", pa.uint64()),  # ranking.images.facts.perceptual_hash: bit_count(xor(a, b)) is a distance
        ("status", pa.string()),
    ]
)
"""One row per unique image of a slice, in the order in which its items first show it."""

FACTS_NAME = "image-facts"
"""Facts are committed like scores, under an id that begins so. No scorer may have this name."""

EMBEDDINGS: pa.Schema = pa.schema(
    [
        ("kind", pa.string()),  # "image" or "prompt"
        ("key", pa.string()),  # the image_uid or prompt_id
        # Of length 1 within float16; null unless status is "ok". One dimension in a file. Not a list of fixed size: its
        # type would differ with the tower, and need a dimension where no image of a slice could be read.
        ("embedding", pa.list_(pa.float16())),
        ("status", pa.string()),
    ]
)
"""One row per distinct image of a slice, then one per distinct prompt, each in the order of first appearance."""

EMBEDDING_PREFIX = "embedding-"
"""Embeddings are committed like scores, under ids that begin so. No scorer may have such a name."""

LABEL_GRAPH: pa.Schema = pa.schema(
    [
        ("wins_0", pa.int32()),
        ("losses_0", pa.int32()),
        ("ties_0", pa.int32()),
        ("wins_1", pa.int32()),
        ("losses_1", pa.int32()),
        ("ties_1", pa.int32()),
        ("absolute_winner", pa.bool_()),
        ("agreements", pa.int32()),
        ("contradictions", pa.int32()),
        ("in_cycle", pa.bool_()),
        ("chain_position", pa.int32()),
        ("chain_length", pa.int32()),
        ("rater_pairs", pa.int32()),
        ("rater_tie_share", pa.float64()),
        ("rater_first_share", pa.float64()),
        ("rater_cycle_share", pa.float64()),
        ("rater_compared", pa.int32()),
        ("rater_agreement", pa.float64()),
        ("model_win_rate_0", pa.float64()),
        ("model_win_rate_1", pa.float64()),
        ("prompt_pairs", pa.int32()),
        ("prompt_variants", pa.int32()),
        ("prompt_cluster", pa.string()),
        ("prompt_cluster_size", pa.int32()),
    ]
)
"""One row per pair, in the order of the pairs; what each says is in `ranking.features.fields`."""

RATERS: pa.Schema = pa.schema(
    [
        ("rater", pa.string()),
        ("pairs", pa.int64()),
        ("ties", pa.int64()),
        ("first_share", pa.float64()),  # of image 0 among those with a winner; null without one
        ("cycle_share", pa.float64()),  # of those with a winner that lie on a cycle
        ("compared", pa.int64()),  # verdicts of others on the same two images, one for each of this rater's
        ("agreement", pa.float64()),  # share of `compared` that said the same; null without any
    ]
)
"""One row per known rater, the busiest first."""

MATCHES: pa.Schema = pa.schema(
    [
        ("model", pa.string()),
        ("opponent", pa.string()),
        ("pairs", pa.int64()),
        ("score", pa.float64()),  # wins of `model`, a tie counting ½
        ("ties", pa.int64()),
    ]
)
"""One row per ordered pair of different models that met."""

SUBSET_PAIRS: pa.Schema = pa.schema(
    [
        ("pair_id", pa.string()),
        ("rank", pa.int64()),  # 1 is the best
        ("metric", pa.float64()),
        ("prompt_id", pa.string()),
        ("prompt", pa.string()),
        ("winner_uid", pa.string()),
        ("loser_uid", pa.string()),
        ("label_source", pa.string()),  # "human", "random", "relabel:<scorer>", "vote" or "soft:<field>"
        ("preference", pa.float64()),  # probability that the winner is the better one; 1 for labels that are not soft
        ("weight", pa.float64()),  # what a training multiplies the pair's loss by; 1 unless the recipe names weights
    ]
)
"""One row per selected pair, best first."""

OK = "ok"
MISSING = "missing"  # no bytes
CORRUPT = "corrupt"  # bytes that do not decode
TOO_LARGE = "too_large"  # above the byte or pixel cap
UNSUPPORTED = "unsupported"  # a format we do not read, or an animation
NON_FINITE = "non_finite"  # the scorer gave NaN or an infinity
CRASH = "crash"  # decoding or scoring killed the process
NOT_GIVEN = "not_given"  # scores were imported, and none for this item among them
TAKEN_DOWN = "taken_down"  # somebody took the image down: its bytes are given to nobody
STATUSES = (OK, MISSING, CORRUPT, TOO_LARGE, UNSUPPORTED, NON_FINITE, CRASH, NOT_GIVEN, TAKEN_DOWN)
"""What may stand in `status`."""
