"""A user's own pictures as a style set: captions from sidecar files or one table, originals from a folder beside."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from ranking.errors import UsageError
from ranking.images import ImageError, decode_rgb
from training.style.sets import Couple

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
_TABLES = ("captions.csv", "captions.jsonl", "metadata.csv", "metadata.jsonl")
_FILE = ("file", "file_name", "image")
_CAPTION = ("caption", "prompt", "text")


def folder_couples(styled: Path, originals: Path) -> Iterator[Couple]:
    """The pictures of `styled` with a caption each, and for each the picture of the same name (whatever its ending) in
    `originals`.

    A caption is the text of NAME.txt beside a picture, or stands in captions.csv, captions.jsonl, metadata.csv or
    metadata.jsonl there: columns `file` (or file_name, image) and `caption` (or prompt, text). UsageError that names
    the picture without caption, without original, or that cannot be read.
    """
    captions = _captions(styled)
    found = {path.stem: path for path in _pictures(originals)}
    for path in _pictures(styled):
        caption = captions.get(path.name) or captions.get(path.stem)
        sidecar = path.with_suffix(".txt")
        if caption is None and sidecar.is_file():
            caption = sidecar.read_text(encoding="utf-8").strip()
        if not caption:
            raise UsageError(f"{path} has no caption", hint=f"write it into {sidecar.name}, or into {_TABLES[0]}")
        if path.stem not in found:
            raise UsageError(f"{path} has no original in {originals}", hint=f"put a picture named {path.stem}.* there")
        yield Couple(caption, _open(path), _open(found[path.stem]))


def _pictures(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}")
    pictures = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not pictures:
        raise UsageError(f"{folder} holds no picture", hint=f"it takes {', '.join(SUFFIXES)}")
    return pictures


def _captions(folder: Path) -> dict[str, str]:
    path = next((folder / name for name in _TABLES if (folder / name).is_file()), None)
    if path is None:
        return {}
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".csv":
            rows = list(csv.DictReader(text.splitlines()))
        else:
            rows = [json.loads(line) for line in text.splitlines() if line.strip()]
        named = [(_first(row, _FILE), _first(row, _CAPTION)) for row in rows]
    except (ValueError, UnicodeDecodeError, AttributeError) as error:
        raise UsageError(f"{path} does not read as captions ({error})") from error
    if any(file is None or caption is None for file, caption in named):
        raise UsageError(f"{path} lacks a file or a caption", hint="it needs the columns file and caption")
    return {str(file): str(caption).strip() for file, caption in named}


def _first(row: dict[str, str], names: tuple[str, ...]) -> str | None:
    return next((row[name] for name in names if row.get(name)), None)


def _open(path: Path) -> Image.Image:
    try:
        return decode_rgb(path.read_bytes())
    except (OSError, ImageError) as error:
        raise UsageError(f"{path} cannot be read as a picture ({error})") from error
