"""Toyworld's pairs with its own scorers and worse ones made of them, taken through ingest, scores, snapshot and wide
table: what label confidence is measured on."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from ranking import duck
from ranking.features.pairs import PairTable
from ranking.ingest import ingest
from ranking.plan import create_plan, open_slices, read_items
from ranking.schema import MISSING, OK, SCORES
from ranking.store.blobs import Store
from ranking.store.commits import commit_scores
from ranking.store.snapshots import create_snapshot
from training.toyworld.dataset import write_dataset
from training.toyworld.raters import NoiseKind

REAL = ("clip-toy", "aesthetic-toy", "preference-toy")


@dataclass(frozen=True)
class ToyPairs:
    """A dataset in a store and, row by row of its wide table, whether its label names the image that the oracle likes
    less (`wrong`; never for what the oracle calls a tie, which `decided` leaves out), whether it was `flipped`, and the
    oracle's `gap`, utility of image 0 − that of image 1."""

    table: PairTable
    wrong: NDArray[np.bool_]
    decided: NDArray[np.bool_]
    flipped: NDArray[np.bool_]
    gap: NDArray[np.float64]


class Pictures:
    """Scores by image uid, kept between datasets of one seed, which draw the same pictures."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[float, ...]] = {}

    def scores(self, data: Path) -> dict[str, tuple[float, ...]]:
        """What the three real scorers give each image of the files."""
        table = pq.read_table(data, columns=["caption", "image_0_uid", "image_1_uid", "jpg_0", "jpg_1"])
        new: dict[str, tuple[bytes, str]] = {}
        for side in (0, 1):
            for uid, jpeg, prompt in zip(
                table[f"image_{side}_uid"].to_pylist(),
                table[f"jpg_{side}"].to_pylist(),
                table["caption"].to_pylist(),
                strict=True,
            ):
                if uid not in self._known:
                    new[uid] = (jpeg, prompt)
        uids = list(new)
        for start in range(0, len(uids), 256):
            part = uids[start : start + 256]
            images = [Image.open(io.BytesIO(new[uid][0])).convert("RGB") for uid in part]
            found = _committee().score_pictures(images, [new[uid][1] for uid in part])
            columns = [found[_committee().scorer_ids[name]] for name in REAL]
            self._known |= {uid: tuple(float(c[i]) for c in columns) for i, uid in enumerate(part)}
        return self._known


@lru_cache(maxsize=1)
def _committee():
    from workers.scorers.registry import load_committee

    return load_committee(REAL, "cpu")


def worse(uid: str, real: tuple[float, ...]) -> dict[str, float | None]:
    """The committee for an image: the real scorers and seven made of them: the best one blurred, the aesthetic one four
    times with jitter, one that knows nothing, one that always says the same, one that is missing for a third."""
    clip, aesthetic, preference = real
    digest = hashlib.sha256(uid.encode()).digest()
    rng = np.random.default_rng(np.frombuffer(digest[:16], np.uint64))
    noise = rng.normal(0, 1, 8)
    return {
        "clip-toy": clip,
        "aesthetic-toy": aesthetic,
        "preference-toy": preference,
        "blurred": preference + 2.5 * float(noise[0]),
        **{f"aesthetic-{n}": aesthetic + 0.3 * float(noise[n]) for n in (1, 2, 3)},
        "clueless": float(noise[4]),
        "constant": 0.5,
        "patchy": clip + 0.15 * float(noise[5]) if noise[6] > -0.43 else None,
    }


def toy_pairs(
    folder: Path, *, pairs: int, noise: float, kind: NoiseKind, seed: int, pictures: Pictures, real_only: bool = False
) -> ToyPairs:
    """Write, ingest and score one Toyworld dataset below `folder`, which must be empty."""
    written = write_dataset(folder / "toy", pairs=pairs, noise=noise, noise_kind=kind, seed=seed)
    real = pictures.scores(written.data)
    store = Store.open(str(folder / "store"))
    ingest(store, written.data, "toy")
    given = {uid: worse(uid, scores) for uid, scores in real.items()}
    names = REAL if real_only else tuple(next(iter(given.values())))
    commit_all(store, {f"{name}@{hashlib.sha256(name.encode()).hexdigest()[:12]}": name for name in names}, given)
    table = PairTable(store, create_snapshot(store), "toy")
    with table.connect() as con:
        found = duck.arrow(
            con,
            f"""SELECT winner, true_label_0, flipped, utility_0::DOUBLE - utility_1 AS gap
            FROM (SELECT *, row_number() OVER () AS place FROM {table.relation(())}) w
            JOIN {duck.parquet_scan([written.truth])} t USING (image_0_uid, image_1_uid) ORDER BY place""",
        )
    winner = found["winner"].fill_null(-1).to_numpy()
    truth = found["true_label_0"].to_numpy()
    decided = (winner >= 0) & (truth != 0.5)
    return ToyPairs(
        table=table,
        wrong=decided & ((winner == 0) != (truth == 1)),
        decided=decided,
        flipped=found["flipped"].to_numpy(),
        gap=found["gap"].to_numpy(),
    )


def commit_all(store: Store, scorers: Mapping[str, str], given: Mapping[str, Mapping[str, float | None]]) -> None:
    """Commit scores by image uid and name for every item of the dataset toy."""
    plan = create_plan(store, "toy", scorers)
    for piece, ids in open_slices(store, plan):
        items = read_items(store, plan, piece)
        uids = items["image_uid"].to_pylist()
        for scorer_id in ids:
            values = [given[uid][scorers[scorer_id]] for uid in uids]
            statuses = [MISSING if value is None else OK for value in values]
            table = pa.table(
                [uids, items["prompt_id"].to_pylist(), pa.array(values, pa.float32()), statuses], schema=SCORES
            )
            commit_scores(store, scorer_id=scorer_id, unit=piece.unit, table=table, attempt="benchmark", items=items)
