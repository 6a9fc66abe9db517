"""Checkpoints of runs, as the store records them: the files of a training's whole state, real from one marker on. Not
what the files mean (`training.loop.checkpoints`).

    runs/<run>/checkpoints/<step>/<attempt>/<file>    what the training put aside             immutable
    runs/<run>/checkpoints/<step>.json                THE checkpoint: its files, its facts    put-if-absent
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ranking.errors import NotFoundError, StoreError
from ranking.names import canonical_json, check_id, parse_json, sha256_file, utc_now
from ranking.store.blobs import Store, clear_errors


@dataclass(frozen=True)
class CheckpointFile:
    """A file by its path within the checkpoint."""

    name: str
    sha256: str
    bytes: int


@dataclass(frozen=True)
class Checkpoint:
    """The state of a run before its optimiser step `step`, put aside by `attempt`. `facts` say what it was made
    with."""

    run_id: str
    step: int
    attempt: str
    files: tuple[CheckpointFile, ...]
    facts: dict[str, Any]
    created: str

    @property
    def bytes(self) -> int:
        """The size of all its files."""
        return sum(file.bytes for file in self.files)

    def key(self, file: CheckpointFile) -> str:
        """Where a file of this checkpoint lies."""
        return f"{_files(self.run_id, self.step, self.attempt)}/{file.name}"


def put_checkpoint(
    store: Store, run_id: str, step: int, folder: Path, *, attempt: str, facts: Mapping[str, Any]
) -> Checkpoint:
    """Put aside all files of a folder (made under `store.tmp()`, emptied by this), the marker last: whatever is killed
    before it left nothing that anyone reads. Where another attempt has put this step aside, its checkpoint stays."""
    paths = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    with clear_errors(checkpoint_key(run_id, step)):
        files = tuple(CheckpointFile(name, sha256_file(path), path.stat().st_size) for name, path in paths.items())
    record = Checkpoint(check_id("run", run_id), step, attempt[:12], files, dict(facts), utc_now())
    try:
        for file in files:
            store.put_file(record.key(file), paths[file.name])
    except StoreError:
        _discard(store, record)  # a disk that is full must not stay so because of what nothing names
        raise
    # Where this fails the marker may be there all the same, so the files stay.
    won = store.put_if_absent(checkpoint_key(run_id, step), canonical_json(asdict(record)))
    found = read_checkpoint(store, checkpoint_key(run_id, step))
    if not won and found.attempt != record.attempt:
        _discard(store, record)
    return found


def list_checkpoints(store: Store, run_id: str) -> list[Checkpoint]:
    """The checkpoints of a run, by step."""
    found = []
    for key in checkpoint_keys(store, check_id("run", run_id)):
        try:
            found.append(read_checkpoint(store, key))
        except NotFoundError:
            continue  # another attempt has passed it by meanwhile
    return found


def checkpoint_keys(store: Store, run_id: str) -> list[str]:
    """The keys of a run's markers, by step."""
    folder = f"runs/{run_id}/checkpoints"
    return [f"{folder}/{name}" for name in store.children(folder) if name.endswith(".json")]


def read_checkpoint(store: Store, key: str) -> Checkpoint:
    """The checkpoint of a marker; NotFoundError if there is none, StoreError if it does not read."""
    values = parse_json(store.get(key), where=key)
    try:
        found = Checkpoint(**values | {"files": tuple(CheckpointFile(**file) for file in values["files"])})
    except (TypeError, KeyError) as error:
        raise StoreError(f"{key} does not read as a checkpoint ({error})", code="damaged") from error
    if key != checkpoint_key(found.run_id, found.step):
        raise StoreError(f"{key} is the record of step {found.step} of run {found.run_id}", code="damaged")
    return found


def checkpoint_folder(store: Store, checkpoint: Checkpoint) -> Path:
    """A local folder with its files, after each was hashed; StoreError for a damaged or missing one."""
    store.checked_paths((checkpoint.key(file), file.sha256) for file in checkpoint.files)
    return store.local_folder(_files(checkpoint.run_id, checkpoint.step, checkpoint.attempt))


def drop_checkpoints(store: Store, run_id: str, *, keep: int = 0) -> int:
    """Delete all but the latest `keep` checkpoints of a run, and return how many went. The marker goes first: what is
    killed in between leaves files that nothing names, which a collection takes."""
    found = list_checkpoints(store, run_id)
    gone = found[: max(0, len(found) - keep)]
    for checkpoint in gone:
        store.delete(checkpoint_key(run_id, checkpoint.step))
        _discard(store, checkpoint)
    return len(gone)


def checkpoint_key(run_id: str, step: int) -> str:
    """Where the checkpoint before a step is, or will be, recorded."""
    return f"runs/{check_id('run', run_id)}/checkpoints/{step:010d}.json"


def _discard(store: Store, checkpoint: Checkpoint) -> None:
    for file in checkpoint.files:
        store.delete(checkpoint.key(file))


def _files(run_id: str, step: int, attempt: str) -> str:
    return f"runs/{check_id('run', run_id)}/checkpoints/{step:010d}/{attempt}"
