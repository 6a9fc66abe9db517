"""Exports as JSON: lines beside a folder of images, or WebDataset shards: tar files of a JSON and two images a pair."""

import json
import os
import tarfile
from collections.abc import Iterator
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import pyarrow.compute as pc

from ranking.names import sha256_file
from ranking.subsets.export.cut import Group
from ranking.subsets.export.folder import PARTS, File, Folder
from ranking.subsets.export.pictures import Picture
from ranking.subsets.export.sink import HashingFile

PAIRS: Final = "pairs.jsonl"
IMAGES: Final = "images"
CHECKSUMS: Final = "images.sha256"
_PIECE: Final = 1 << 20


def records(group: Group) -> Iterator[dict[str, Any]]:
    """The rows of a group as JSON objects (METADATA), with times as ISO 8601 in UTC without a zone."""
    rows = group.rows
    times = pc.strftime(rows["created_at"], format="%Y-%m-%dT%H:%M:%S")
    place = rows.schema.get_field_index("created_at")
    yield from rows.set_column(place, "created_at", times).to_pylist()


class JsonLines:
    """Writes `pairs.jsonl` and, each once, images as `images/<2 digits>/<sha256>.<ending>`, with `images.sha256` as
    `sha256sum -c` reads it."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._known: set[bytes] = set()
        self._part: HashingFile | None = None
        self._fresh: list[tuple[str, str]] = []

    def recall(self) -> int:
        """How many of the parts that were finished earlier can be built upon: those up to the first whose images are
        not all as they were written."""
        for number, shard in enumerate(self._folder.shards):
            for listing in (file for file in shard.files if file.path.endswith(".sha256")):
                for digest, name in _listed(self._folder.path(listing.path)):
                    path = self._folder.path(name)
                    if not path.is_file() or sha256_file(path) != digest:
                        return number
                    self._known.add(bytes.fromhex(digest))
        return len(self._folder.shards)

    def write(self, group: Group) -> None:
        """Append to the part, or begin one."""
        if self._part is None:
            name = f"{PARTS}{len(self._folder.shards):06d}.jsonl"
            self._part = HashingFile(self._folder.path(name), name)
        for row, record in enumerate(records(group)):
            if group.pictures:
                for side, pictures in enumerate(group.pictures):
                    record[f"image_{side}"] = self._stored(pictures[row])
            self._part.write(_line(record))

    def close(self) -> tuple[File, ...]:
        """End the part; its files."""
        if self._part is None:
            return ()
        part = self._part.done()
        listing = self._folder.file(
            f"{PARTS}{len(self._folder.shards):06d}.sha256",
            "".join(f"{digest}  {name}\n" for digest, name in self._fresh).encode(),
        )
        self._part, self._fresh = None, []
        return part, listing

    def finish(self) -> tuple[File, ...]:
        """Join the parts; all files of the export but the images, which `images.sha256` lists."""
        lines = [file for shard in self._folder.shards for file in shard.files if file.path.endswith(".jsonl")]
        joined = HashingFile(self._folder.path(PAIRS), PAIRS)
        for part in lines:
            with self._folder.path(part.path).open("rb") as file:
                while piece := file.read(_PIECE):
                    joined.write(piece)
        found = (joined.done(),)
        if not self._known:
            return found
        images = self._folder.path(IMAGES)
        names: list[str] = []
        for folder, _, files in os.walk(images):
            for name in files:
                if bytes.fromhex(name.partition(".")[0]) in self._known:
                    names.append(f"{IMAGES}/{Path(folder).name}/{name}")
                else:  # of a pair that could be read once, and not when this was taken up again
                    Path(folder, name).unlink()
        names.sort()
        listing = "".join(f"{name.rpartition('/')[2].partition('.')[0]}  {name}\n" for name in names)
        return (*found, self._folder.file(CHECKSUMS, listing.encode()))

    def _stored(self, picture: Picture) -> str:
        digest = sha256(picture.data)
        name = f"{IMAGES}/{digest.hexdigest()[:2]}/{digest.hexdigest()}.{picture.ending}"
        if digest.digest() not in self._known:
            path = self._folder.path(name)
            fresh = path.with_name(f"{'0' * 63}.new")
            fresh.write_bytes(picture.data)
            fresh.rename(path)
            self._known.add(digest.digest())
            self._fresh.append((digest.hexdigest(), name))
        return name


class TarShards:
    """Writes `data/train-000000.tar` and so on: for each pair `<pair_id>.0.<ending>`, `<pair_id>.1.<ending>` and
    `<pair_id>.json`, the best pair first, without times or owners."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._sink: HashingFile | None = None
        self._tar: tarfile.TarFile | None = None

    def recall(self) -> int:
        """How many of the shards that were finished earlier can be built upon."""
        return len(self._folder.shards)

    def write(self, group: Group) -> None:
        """Append to the shard, or begin one."""
        if self._tar is None:
            name = f"data/train-{len(self._folder.shards):06d}.tar"
            self._sink = HashingFile(self._folder.path(name), name)
            self._tar = tarfile.TarFile(fileobj=self._sink, mode="w", format=tarfile.USTAR_FORMAT)
        for row, record in enumerate(records(group)):
            key = record["pair_id"]
            for side, pictures in enumerate(group.pictures or ()):
                _add(self._tar, f"{key}.{side}.{pictures[row].ending}", pictures[row].data)
            _add(self._tar, f"{key}.json", _line(record))

    def close(self) -> tuple[File, ...]:
        """End the shard; its files."""
        if self._tar is None or self._sink is None:
            return ()
        self._tar.close()
        file = self._sink.done()
        self._tar = self._sink = None
        return (file,)

    def finish(self) -> tuple[File, ...]:
        """All data files of the export."""
        return tuple(file for shard in self._folder.shards for file in shard.files)


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)  # its time and owner are 0, its mode 0644
    member.size = len(data)
    tar.addfile(member, BytesIO(data))


def _line(record: dict[str, Any]) -> bytes:
    return (json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _listed(path: Path) -> Iterator[tuple[str, str]]:
    for line in path.read_text().splitlines():
        digest, _, name = line.partition("  ")
        yield digest, name
