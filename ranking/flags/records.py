"""The records of flags as the store keeps them, each under a key that follows from what it says. Never changed, never
deleted; what stands is worked out elsewhere."""

from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from ranking.errors import PairsieveError, StoreError
from ranking.names import canonical_json, check_id, check_name, parse_json, sha256_hex
from ranking.store.blobs import Store
from ranking.store.parquet import DataFile

FLAGS = "flags"
TAKEDOWNS = "takedowns"

_ID = 16  # hex digits


@dataclass(frozen=True)
class Mark:
    """One person's word against one pair. `turn` counts how often the same person's same mark was withdrawn before;
    the id follows from dataset, pair, kind, by and turn, so that saying it twice is saying it once."""

    dataset: str
    pair_id: str
    kind: str
    by: str
    turn: int
    why: str
    door: str
    created: str

    @property
    def id(self) -> str:
        """16 hex digits, the same as `book.mark_id_sql` gives."""
        return mark_id(self.dataset, self.pair_id, self.kind, self.by, self.turn)

    @property
    def key(self) -> str:
        """The store key."""
        return f"{FLAGS}/{check_name('dataset', self.dataset)}/marks/{self.id}.json"


@dataclass(frozen=True)
class Batch:
    """Many marks at once: a Parquet file of them (MARKED schema), sorted. `by` is who brought them; each row says who
    judged."""

    dataset: str
    by: str
    turn: int
    why: str
    door: str
    marks: DataFile
    created: str

    @property
    def id(self) -> str:
        """16 hex digits that follow from the marks, who brought them, and how often they were withdrawn."""
        return _id("batch", self.dataset, self.by, self.turn, self.marks.sha256)

    @property
    def key(self) -> str:
        """The store key."""
        return f"{FLAGS}/{check_name('dataset', self.dataset)}/batches/{self.id}.json"


@dataclass(frozen=True)
class Withdrawal:
    """The end of a mark, a batch or a take-down, whose id is `of`; its key follows from that, so one is enough."""

    of: str
    dataset: str | None
    by: str
    why: str
    door: str
    created: str

    @property
    def key(self) -> str:
        """The store key; without a dataset it is of a take-down."""
        folder = TAKEDOWNS if self.dataset is None else f"{FLAGS}/{check_name('dataset', self.dataset)}"
        return f"{folder}/withdrawn/{check_id('flag', self.of)}.json"


@dataclass(frozen=True)
class TakeDown:
    """An image that is to be shown, exported and trained on no more: the image `uid` of `dataset`, and every image of
    any dataset whose bytes have this `sha256`. At least one of the two is known."""

    dataset: str | None
    uid: str | None
    sha256: str | None
    turn: int
    by: str
    why: str
    door: str
    created: str

    @property
    def id(self) -> str:
        """16 hex digits that follow from the image and how often its take-down was withdrawn: whoever takes it down
        second adds nothing."""
        return _id("take-down", self.dataset, self.uid, self.sha256, self.turn)

    @property
    def key(self) -> str:
        """The store key."""
        return f"{TAKEDOWNS}/images/{self.id}.json"


Record = Mark | Batch | Withdrawal | TakeDown
R = TypeVar("R", Mark, Batch, Withdrawal, TakeDown)


def put_record(store: Store, record: Record) -> bool:
    """Keep a record. False if it is there already, said by whoever was first."""
    return store.put_if_absent(record.key, canonical_json(asdict(record)))


def put_withdrawal(store: Store, record: Withdrawal) -> tuple[Withdrawal, bool]:
    """Keep a withdrawal: the one that stands, which is another's who was first, and whether it is new."""
    if put_record(store, record):
        return record, True
    found = read_record(store, record.key)
    if not isinstance(found, Withdrawal):
        raise StoreError(f"{record.key} is no withdrawal", code="damaged")
    return found, False


def read_record(store: Store, key: str) -> Record:
    """The record under a key of `flags/` or `takedowns/`; StoreError if it does not read or lies elsewhere than it
    says."""
    return parse_record(store.get(key), key)


def parse_record(data: bytes, key: str) -> Record:
    """The record that these bytes under this key are; StoreError as above."""
    value: dict[str, Any] = parse_json(data, where=key)
    kinds: dict[str, type[Record]] = {
        "marks": Mark,
        "batches": Batch,
        "withdrawn": Withdrawal,
        "images": TakeDown,
    }
    try:
        kind = kinds[key.split("/")[-2]]
        if kind is Batch:
            value = value | {"marks": DataFile(**value["marks"])}
        record: Record = kind(**value)
        fits = record.key == key
    except (KeyError, TypeError, AttributeError, PairsieveError) as error:
        raise _damaged(key, "does not read as a flag") from error
    if not fits:
        raise _damaged(key, "is the record of another flag")
    return record


def record_keys(store: Store, folder: str) -> list[str]:
    """The keys of the records below a folder of flags; the files they name are no records."""
    return [key for key in store.list(folder) if key.endswith(".json")]


def flag_folder(dataset: str) -> str:
    """Where the flags of a dataset's pairs are."""
    return f"{FLAGS}/{check_name('dataset', dataset)}"


def mark_id(dataset: str, pair_id: str, kind: str, by: str, turn: int) -> str:
    """16 hex digits of the SHA-256 over the parts, each as `<bytes>:<text>`."""
    parts = (dataset, pair_id, kind, by, str(turn))
    return sha256_hex("".join(f"{len(part.encode())}:{part}" for part in parts).encode())[:_ID]


def _id(*parts: Any) -> str:
    return sha256_hex(canonical_json(list(parts)))[:_ID]


def _damaged(key: str, flaw: str) -> StoreError:
    return StoreError(f"{key} {flaw}", code="damaged", hint="restore it from a copy of the store")
