"""Studies as the store records them: what is compared with what, which cells are done, what came out. Not how a cell is
filled (`training.study`).

    studies/<name>/<id>/study.json               the arms and judges, the snapshot pinned      put-if-absent
    studies/<name>/<id>/cells/<arm>.<seed>.json  THE cell: its subset, run and tallies         put-if-absent
    studies/<name>/<id>/tallies/<sha>.parquet    what the judges counted, prompt by prompt     immutable
    studies/<name>/<id>/result.json              the table, once every cell is done            put-if-absent
"""

from dataclasses import asdict, dataclass, field
from typing import Any

from ranking.errors import NotFoundError, StoreError, UnknownNameError
from ranking.names import canonical_json, check_id, check_name, parse_json, sha256_hex, utc_now
from ranking.store.blobs import Store
from ranking.store.parquet import DataFile
from ranking.store.trash import settle
from ranking.subsets.catalog import SnapshotRef

STUDIES = "studies"


@dataclass(frozen=True)
class Study:
    """A study that was begun. `spec` is what was asked, with every default spelled out, `id` follows from it alone;
    `snapshot` is the one that the first run found. `arms` are plain JSON in the order of the table, each with the
    `name`, `role`, `seeds` and `recipe`; `judges` have a `name` and what makes them what they are."""

    name: str
    id: str
    spec: dict[str, Any]
    snapshot: SnapshotRef
    arms: tuple[dict[str, Any], ...]
    judges: tuple[dict[str, Any], ...]
    created: str = field(default="", compare=False)

    @property
    def cells(self) -> list[tuple[str, int]]:
        """Every (arm, seed) that is to be filled, in the order of the table."""
        return [(arm["name"], seed) for arm in self.arms for seed in arm["seeds"]]


@dataclass(frozen=True)
class Cell:
    """One arm with one seed: the subset it selects, how many pairs that has, the run trained on it (None without
    training), and the file of its tallies."""

    arm: str
    seed: int
    subset: str
    pairs: int
    run: str | None
    tallies: DataFile
    created: str = field(default="", compare=False)


def study_id(spec: dict[str, Any]) -> str:
    """16 hex digits that follow from what was asked."""
    return sha256_hex(canonical_json(spec))[:16]


def study_folder(name: str, id: str) -> str:
    """The store folder of one study."""
    return f"{STUDIES}/{check_name('study', name)}/{check_id('study', id)}"


def plan_study(store: Store, study: Study) -> Study:
    """Record a study; the one that is there already if it was begun before."""
    record = asdict(study) | {"created": utc_now()}
    store.put_if_absent(f"{study_folder(study.name, study.id)}/study.json", canonical_json(record))
    return get_study(store, study.name, study.id)


def find_study(store: Store, name: str, id: str) -> Study | None:
    """The study if it was begun, or None."""
    key = f"{study_folder(name, id)}/study.json"
    return read_study(store, key) if store.exists(key) else None


def get_study(store: Store, name: str, id: str | None = None) -> Study:
    """A study by its id, or the newest of a name; UnknownNameError or NotFoundError that says what exists."""
    studies = [each for each in list_studies(store) if each.name == check_name("study", name)]
    found = [each for each in studies if id in (None, each.id)]
    if found:
        return found[-1]
    if studies:
        raise NotFoundError(f"study {name} has no id {id}", hint=f"there are {', '.join(each.id for each in studies)}")
    raise UnknownNameError.among("study", name, store.children(STUDIES))


def list_studies(store: Store) -> list[Study]:
    """Every study, by name, then oldest first."""
    keys = [
        f"{STUDIES}/{name}/{id}/study.json"
        for name in store.children(STUDIES)
        for id in store.children(f"{STUDIES}/{name}")
    ]
    found = [read_study(store, key) for key in keys if store.exists(key)]
    return sorted(found, key=lambda study: (study.name, study.created, study.id))


def finish_cell(store: Store, study: Study, cell: Cell) -> Cell:
    """Mark a cell as filled; the one that is there already if somebody was quicker."""
    key = _cell_key(study, cell.arm, cell.seed)
    store.put_if_absent(key, canonical_json(asdict(cell) | {"created": utc_now()}))
    found = read_cell(store, key)
    settle(store, [found.tallies.file])
    return found


def find_cell(store: Store, study: Study, arm: str, seed: int) -> Cell | None:
    """A cell of a study if it is filled, or None."""
    key = _cell_key(study, arm, seed)
    return read_cell(store, key) if store.exists(key) else None


def filled(store: Store, study: Study) -> list[Cell]:
    """The cells that are filled, in the order of the table."""
    found = [find_cell(store, study, arm, seed) for arm, seed in study.cells]
    return [cell for cell in found if cell is not None]


def finish_study(store: Store, study: Study, result: dict[str, Any]) -> dict[str, Any]:
    """Record what came out (plain JSON); what is there already if it was recorded before."""
    key = f"{study_folder(study.name, study.id)}/result.json"
    store.put_if_absent(key, canonical_json(result))
    return dict(parse_json(store.get(key), where=key))


def study_result(store: Store, study: Study) -> dict[str, Any] | None:
    """What came out, or None while cells are open."""
    key = f"{study_folder(study.name, study.id)}/result.json"
    return dict(parse_json(store.get(key), where=key)) if store.exists(key) else None


def study_keys(store: Store) -> tuple[list[str], list[str]]:
    """The keys of all studies' records, and those of all cells' markers."""
    keys = [key for key in store.list(STUDIES) if key.endswith(".json")]
    studies = [key for key in keys if key.endswith("/study.json")]
    return studies, [key for key in keys if key.split("/")[3:4] == ["cells"]]


def read_study(store: Store, key: str) -> Study:
    """The study that a key records; StoreError if it is damaged."""
    record: dict[str, Any] = parse_json(store.get(key), where=key)
    try:
        lists = {name: tuple(record[name]) for name in ("arms", "judges")}
        study = Study(**record | lists | {"snapshot": SnapshotRef(**record["snapshot"])})
        expected = f"{study_folder(study.name, study_id(study.spec))}/study.json"
    except (KeyError, TypeError) as error:
        raise _damaged(f"{key} does not read as a study") from error
    if study.id != study_id(study.spec) or key != expected:
        raise _damaged(f"{key} is damaged: its id does not follow from it")
    return study


def read_cell(store: Store, key: str) -> Cell:
    """The cell that a key marks; StoreError if it is damaged."""
    record: dict[str, Any] = parse_json(store.get(key), where=key)
    try:
        cell = Cell(**record | {"tallies": DataFile(**record["tallies"])})
    except (KeyError, TypeError) as error:
        raise _damaged(f"{key} does not read as a cell of a study") from error
    if not key.endswith(f"/cells/{cell.arm}.{cell.seed}.json"):
        raise _damaged(f"{key} is the marker of {cell.arm} with seed {cell.seed}")
    return cell


def _cell_key(study: Study, arm: str, seed: int) -> str:
    return f"{study_folder(study.name, study.id)}/cells/{check_name('arm', arm)}.{int(seed)}.json"


def _damaged(what: str) -> StoreError:
    return StoreError(what, code="damaged", hint="restore it from a copy of the store")
