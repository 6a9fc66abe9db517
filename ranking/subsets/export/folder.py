"""The folder that an export becomes: claimed by one writer, filled out of sight, moved into place when it is whole,
its manifest last. Killed at whatever moment, it is either finished or says how far it came."""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from ranking.errors import StoreError, UsageError
from ranking.names import canonical_json, sha256_file

MANIFEST: Final = "manifest.json"
PARTS: Final = "parts/"
UNFINISHED: Final = ".unfinished"
_STATE, _LOCK, _TREE, _DONE = "state.json", "lock", "tree", "done"
_OF_THE_DISK: Final = {"lost+found"}  # what an empty disk holds


@dataclass(frozen=True)
class File:
    """A file of an export: its path below the folder with / between parts, its size and the SHA-256 of its bytes."""

    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Shard:
    """A finished part of an export: the rows before position `stop` are in it or in those before it, and `rows` are in
    it. `left_out` are (pair id, reason) met in it; `endings` how many images have which."""

    number: int
    stop: int
    rows: int
    files: tuple[File, ...]
    left_out: tuple[tuple[str, str], ...]
    endings: dict[str, int]


class Folder:
    """An export that is being written. Paths given here are below the finished folder."""

    def __init__(self, root: Path, shards: list[Shard]) -> None:
        self.root = root
        self.shards = shards

    def path(self, name: str) -> Path:
        """Where to write a file that shall be called so; its folder is made. What begins with PARTS is no file of the
        finished export."""
        path = _placed(self.root / UNFINISHED, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def finish_shard(self, shard: Shard) -> None:
        """Record a part whose files are complete."""
        _write(self.root / UNFINISHED / _DONE / f"{shard.number:06d}.json", asdict(shard))
        self.shards.append(shard)

    def file(self, name: str, data: bytes) -> File:
        """Write a small file whole."""
        path = self.path(name)
        path.write_bytes(data)
        return file_at(path, name)

    def finish(self, manifest: dict[str, Any]) -> None:
        """Move everything into place, the manifest last. Once begun, the next call would end it."""
        os.sync()  # one wait for all of it, rather than one for each of a hundred thousand images
        _write(self.root / UNFINISHED / MANIFEST, manifest, indent=1)
        _move_into_place(self.root)


@contextmanager
def claimed(root: Path, identity: dict[str, Any]) -> Iterator[Folder | None]:
    """The folder `root` for writing, made if absent, with the parts that an interrupted export of the same `identity`
    finished; None if nothing was left to do but to move it into place.

    Raises UsageError for a place that is no folder, is not empty, holds another unfinished export, or that another
    process is writing to; StoreError, in one line, for whatever the disk refuses.
    """
    with disk_errors(root):
        _refuse_strangers(root)
        work = root / UNFINISHED
        (work / _DONE).mkdir(parents=True, exist_ok=True)
    with _locked(work, root):
        with disk_errors(root):
            begun = _read(work / _STATE)
            if begun is not None and begun != identity:
                raise UsageError(
                    f"{root} holds an unfinished export of {_named(begun)}, not of {_named(identity)}",
                    code="exists",
                    hint=f"choose another folder, or remove {work}",
                )
            if begun is None:
                shutil.rmtree(work / _TREE, ignore_errors=True)
                _write(work / _STATE, identity)
            if (work / MANIFEST).exists():
                _move_into_place(root)
                finished = True
            else:
                finished = False
        if finished:
            yield None
            return
        with disk_errors(root):
            yield Folder(root, _kept(work))


@contextmanager
def disk_errors(root: Path) -> Iterator[None]:
    """StoreError for what the system refuses about `root`; an export can go on where it was once that is mended."""
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"{root} cannot be written ({(error.strerror or str(error)).lower()})",
            code="export-unwritable",
            hint="check the folder and its space; the same command goes on where it stopped",
        ) from error


def file_at(path: Path, name: str) -> File:
    """What there is to say of a finished file."""
    return File(name, path.stat().st_size, sha256_file(path))


def finished_manifest(root: Path) -> dict[str, Any] | None:
    """The manifest of a finished export, or None where there is none. UsageError if it does not read as one."""
    try:
        text = (root / MANIFEST).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        found: dict[str, Any] = json.loads(text)
        if not isinstance(found["files"], list) or not isinstance(found["export"]["subset"], str):
            raise TypeError
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{root / MANIFEST} is not the manifest of an export", code="exists") from error
    return found


def _refuse_strangers(root: Path) -> None:
    if (root.exists() or root.is_symlink()) and not root.is_dir():
        raise UsageError(f"{root} is not a folder", code="exists", hint="choose another name")
    root.mkdir(parents=True, exist_ok=True)
    present = {path.name for path in root.iterdir()} - _OF_THE_DISK
    if not present or UNFINISHED in present:
        return
    if MANIFEST in present:
        try:
            what = f"a finished export of {finished_manifest(root)['export']['subset']}"  # type: ignore[index]
        except UsageError:
            what = "files that are no export of ours"
    else:
        what = f"other files, such as {min(present)}"
    raise UsageError(f"{root} is not empty: it holds {what}", code="exists", hint="choose another folder")


@contextmanager
def _locked(work: Path, root: Path) -> Iterator[None]:
    with disk_errors(root):
        lock = (work / _LOCK).open("wb")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(
                f"another process is exporting to {root}", code="exists", hint="wait for it, or choose another folder"
            ) from error
        except OSError:
            pass  # a file system without locks: whoever exports twice at once to it is on their own
        yield


def _kept(work: Path) -> list[Shard]:
    """The parts that are whole, in order, up to the first that is not; what was written after them goes."""
    kept: list[Shard] = []
    for path in sorted((work / _DONE).glob("*.json")):
        record = _read(path)
        shard = _shard(record) if record is not None and len(kept) == int(path.stem) else None
        if shard is None or not all(_whole(_placed(work, file.path), file) for file in shard.files):
            path.unlink()
            continue
        kept.append(shard)
    return kept


def _placed(work: Path, name: str) -> Path:
    return work / name if name.startswith(PARTS) else work / _TREE / name


def _shard(record: dict[str, Any]) -> Shard | None:
    try:
        files = tuple(File(**file) for file in record["files"])
        left_out = tuple((pair, reason) for pair, reason in record["left_out"])
        return Shard(**record | {"files": files, "left_out": left_out})
    except (KeyError, TypeError, ValueError):
        return None


def _whole(path: Path, file: File) -> bool:
    return path.is_file() and path.stat().st_size == file.bytes and sha256_file(path) == file.sha256


def _move_into_place(root: Path) -> None:
    work = root / UNFINISHED
    tree = work / _TREE
    # What readers look for first comes last.
    names = sorted(path.name for path in tree.iterdir()) if tree.is_dir() else []
    for name in sorted(names, key=lambda name: ((tree / name).is_file(), name)):
        (tree / name).rename(root / name)
    (work / MANIFEST).rename(root / MANIFEST)
    _sync_folder(root)
    shutil.rmtree(work, ignore_errors=True)


def _write(path: Path, value: Any, *, indent: int | None = None) -> None:
    """Write JSON whole and durably, or not at all."""
    data = canonical_json(value) if indent is None else _indented(value, indent)
    fresh = path.with_name(f"{path.name}.new")
    with fresh.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    fresh.rename(path)
    _sync_folder(path.parent)


def _indented(value: Any, indent: int) -> bytes:
    return (json.dumps(value, indent=indent, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _sync_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    return found


def _named(identity: dict[str, Any]) -> str:
    return f"{identity.get('subset')} as {identity.get('format')}"
