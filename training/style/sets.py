"""Style-preference sets: pairs whose preferred picture is in a style and whose rejected one is its original, written in
the Pick-a-Pic schema that `ingest` reads, with pictures of held-out prompts to measure by."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from ranking import duck
from ranking.datasets import get_dataset
from ranking.errors import PairsieveError, UsageError
from ranking.images import ImageError, ImageReader, decode_rgb
from ranking.images.fetch import url_fetcher
from ranking.names import sha256_file
from ranking.settings import load_settings
from ranking.store.blobs import Store
from ranking.subsets.export.tables import PICKAPIC
from training.style.transforms import Style

DATA, REFERENCE, PROMPTS, RECORD = "data", "reference.parquet", "prompts.txt", "style.json"
_ROWS = 128
_START = datetime(2026, 1, 1, tzinfo=UTC)
REFERENCES: pa.Schema = pa.schema([("prompt", pa.string()), ("styled", pa.binary()), ("original", pa.binary())])
"""One row per held-out picture: both as encoded bytes."""


@dataclass(frozen=True)
class Couple:
    """One picture twice: as it was, and in the style."""

    prompt: str
    styled: Image.Image
    original: Image.Image


@dataclass(frozen=True)
class StyleSet:
    """What a style set's record says: the style (`name@version`, or that of a user's folder), the text that a CLIP is
    asked of it, where the pictures come from, how many pairs and references of how many prompts there are, and the
    sha256 of the references."""

    style: str
    text: str
    source: str
    pairs: int
    prompts: int
    references: int
    held_out_prompts: int
    skipped: int
    reference_sha256: str


def write_style_set(
    folder: Path, couples: Iterable[Couple], *, style: str, text: str, source: str, held_out: float, skipped: int = 0
) -> StyleSet:
    """Write data/*.parquet, reference.parquet, prompts.txt and style.json into a new folder.

    The prompts whose hashes lie below `held_out`, a share, are held out: their pictures are references and no pairs.
    Both pictures of a pair are encoded alike (JPEG, quality 95, no chroma subsampling), and which is first follows from
    a hash, so that neither tells the winner. UsageError for a folder that is not empty, PairsieveError where either
    part would be.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is not an empty folder", hint="choose another one")
    wanted, folder = folder, folder.with_name(f"{folder.name}.unfinished")
    shutil.rmtree(folder, ignore_errors=True)
    (folder / DATA).mkdir(parents=True)
    counts: dict[str, dict[str, int]] = {"pairs": {}, "references": {}}
    file = folder / DATA / "train-00000-of-00001.parquet"
    with pq.ParquetWriter(file, PICKAPIC) as pairs, pq.ParquetWriter(folder / REFERENCE, REFERENCES) as references:
        coming = iter(couples)
        while block := list(islice(coming, _ROWS)):
            kept = {"pairs": [each for each in block if _share(each.prompt) >= held_out]}
            kept["references"] = [each for each in block if _share(each.prompt) < held_out]
            done = sum(counts["pairs"].values())
            rows = [_pair(each, done + i, style) for i, each in enumerate(kept["pairs"])]
            pairs.write_table(pa.Table.from_pylist(rows, schema=PICKAPIC))
            held = [
                {"prompt": each.prompt, "styled": _jpeg(each.styled), "original": _jpeg(each.original)}
                for each in kept["references"]
            ]
            references.write_table(pa.Table.from_pylist(held, schema=REFERENCES))
            for part, each in ((part, each) for part, found in kept.items() for each in found):
                counts[part][each.prompt] = counts[part].get(each.prompt, 0) + 1
    for part, found in counts.items():
        if len(found) < 2:
            raise PairsieveError(
                f"the style set has {part} of {len(found)} prompts, and needs two",
                code="style-set",
                hint="take more pictures, or another held-out share",
            )
    (folder / PROMPTS).write_text("".join(f"{prompt}\n" for prompt in counts["references"]), encoding="utf-8")
    made = StyleSet(
        style=style,
        text=text,
        source=source,
        pairs=sum(counts["pairs"].values()),
        prompts=len(counts["pairs"]),
        references=sum(counts["references"].values()),
        held_out_prompts=len(counts["references"]),
        skipped=skipped,
        reference_sha256=sha256_file(folder / REFERENCE),
    )
    (folder / RECORD).write_text(json.dumps(asdict(made), indent=1) + "\n", encoding="utf-8")
    folder.replace(wanted)
    return made


def read_style_set(folder: Path) -> StyleSet:
    """The record of a style set; UsageError for a folder without one, or whose references are other ones."""
    try:
        made = StyleSet(**json.loads((folder / RECORD).read_text(encoding="utf-8")))
        found = sha256_file(folder / REFERENCE)
    except (OSError, ValueError, TypeError) as error:
        lacks = isinstance(error, FileNotFoundError)
        why = f"it has no {Path(error.filename).name}" if lacks else getattr(error, "strerror", None) or error
        raise UsageError(f"{folder} is no style set ({why})", hint="make one with `pairsieve style make`") from error
    if found != made.reference_sha256:
        raise UsageError(f"the references of {folder} are not those it was made with", hint="make the set again")
    return made


def read_references(folder: Path) -> tuple[list[str], list[Image.Image], list[Image.Image]]:
    """Prompts, styled pictures and originals of the held-out prompts."""
    table = pq.read_table(folder / REFERENCE, partitioning=None)
    pictures = ([decode_rgb(data) for data in table[name].to_pylist()] for name in ("styled", "original"))
    return table["prompt"].to_pylist(), *pictures


def dataset_couples(store: Store, dataset: str, style: Style, *, pictures: int | None = None) -> Iterator[Couple]:
    """Pictures of a dataset that won a pair, each with its prompt and in the style; at most `pictures`, those whose
    uids hash lowest. What cannot be read is left out. UsageError where no picture won."""
    found = get_dataset(store, dataset)
    with duck.connect() as con:
        won = duck.arrow(
            con,
            f"""SELECT uid, min(prompt) AS prompt FROM (
                    SELECT prompt, CASE winner WHEN 0 THEN image_0_uid ELSE image_1_uid END AS uid
                    FROM {duck.parquet_scan(found.pairs_paths(store))} WHERE winner IS NOT NULL)
                GROUP BY uid ORDER BY sha256(uid) {f"LIMIT {pictures}" if pictures else ""}""",
        )
    if not len(won):
        raise UsageError(f"no pair of {dataset} has a winner", hint="choose another dataset")
    prompts = dict(zip(won["uid"].to_pylist(), won["prompt"].to_pylist(), strict=True))
    reader = ImageReader(store, found, fetch=url_fetcher(load_settings()))
    for uid, data in reader.read_each(reader.places(prompts)):
        try:
            image = decode_rgb(data)
        except ImageError:
            continue
        yield Couple(prompts[uid], Image.fromarray(style(np.asarray(image))), image)


def _share(prompt: str) -> float:
    """A number in [0, 1) that follows from a prompt."""
    return int.from_bytes(hashlib.sha256(f"style:{prompt}".encode()).digest()[:6], "big") / 2**48


def _pair(couple: Couple, number: int, style: str) -> dict[str, Any]:
    sides = [(_jpeg(couple.styled), style, 1.0), (_jpeg(couple.original), "original", 0.0)]
    if hashlib.sha256(sides[1][0]).digest()[0] % 2:
        sides.reverse()
    uids = [hashlib.sha256(data).hexdigest()[:32] for data, _, _ in sides]
    row: dict[str, Any] = {
        "are_different": True,
        "best_image_uid": next(uid for uid, side in zip(uids, sides, strict=True) if side[2]),
        "caption": couple.prompt,
        "created_at": _START,
        "has_label": True,
        "ranking_id": number,
        "user_id": 0,
        "num_example_per_prompt": 1,
        "__index_level_0__": number,
    }
    for place, (uid, (data, model, label)) in enumerate(zip(uids, sides, strict=True)):
        row |= {
            f"image_{place}_uid": uid,
            f"image_{place}_url": f"style://{uid}.jpg",
            f"jpg_{place}": data,
            f"label_{place}": label,
            f"model_{place}": model,
        }
    return row


def _jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "JPEG", quality=95, subsampling=0)
    return buffer.getvalue()
