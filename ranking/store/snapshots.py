"""Snapshots: numbered, hashed, immutable lists of commits that everything downstream cites. Not where scores
are joined."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from ranking.datasets import list_datasets
from ranking.errors import NotFoundError, StoreError
from ranking.flags.pinned import FlagsPin, flaws_of, pin_flags
from ranking.names import canonical_json, parse_json, scorer_name, sha256_hex, utc_now
from ranking.store.blobs import Store
from ranking.store.commits import Commit, list_commits
from ranking.store.shards import holds_scores


@dataclass(frozen=True)
class Member:
    """One commit of a snapshot: what to read, and the hash it must have."""

    scorer_id: str
    unit: str
    file: str
    sha256: str
    bytes: int
    rows: int
    n_bad: int


@dataclass(frozen=True)
class DatasetPin:
    """The revision of a dataset that a snapshot saw."""

    revision: int
    sha: str


@dataclass(frozen=True)
class Snapshot:
    """A numbered state of the store. `scorers` says which scorer id stands for each scorer name: the one with
    most rows, ties going to the lexically first. `members` are all commits, those of image facts and embeddings
    (`shards.kind_of`) included. `flags` are the marks and take-downs that it saw, None where nothing was flagged. `sha`
    covers datasets, scorers, members and flags, so it is the same elsewhere."""

    n: int
    sha: str
    parent: str | None
    created: str
    datasets: dict[str, DatasetPin]
    scorers: dict[str, str]
    members: tuple[Member, ...]
    flags: FlagsPin | None = None

    @property
    def score_members(self) -> tuple[Member, ...]:
        """The members that hold scores: all but the facts about images and the embeddings."""
        return tuple(member for member in self.members if holds_scores(member.scorer_id))


def create_snapshot(store: Store) -> Snapshot:
    """A snapshot of all commits that are there now; the latest one again if nothing changed since.

    Raises StoreError if a commit's file is missing or has another size.
    """
    while True:
        latest = latest_snapshot(store)
        datasets = {found.name: DatasetPin(found.revision, found.revision_sha) for found in list_datasets(store)}
        members = _checked_members(store, list_commits(store))
        content = _content(datasets, _chosen_scorers(members), members, pin_flags(store, list(datasets)))
        sha = sha256_hex(canonical_json(content))
        if latest is not None and latest.sha == sha:
            return latest
        n = latest.n + 1 if latest else 1
        record = content | {
            "n": n,
            "sha": sha,
            "parent": latest.sha if latest else None,
            "created": utc_now(),
        }
        if store.put_if_absent(snapshot_key(n), canonical_json(record)):
            return get_snapshot(store, n)
        # Somebody else took the number: look again, what they saw may be all there is.


def latest_snapshot(store: Store) -> Snapshot | None:
    """The newest snapshot, or None if there is none yet."""
    numbers = snapshot_numbers(store)
    return get_snapshot(store, numbers[-1]) if numbers else None


def snapshot_numbers(store: Store) -> list[int]:
    """The numbers of the snapshots that exist, ascending; retired ones are missing, the newest never is."""
    names = (key.rpartition("/")[2].removesuffix(".json") for key in store.list("snapshots"))
    return sorted(int(name) for name in names if name.isdigit())


def get_snapshot(store: Store, n: int) -> Snapshot:
    """Snapshot number `n`; NotFoundError if there is none, StoreError if it is not what its hash says."""
    key = snapshot_key(n)
    if not store.exists(key):
        raise NotFoundError(f"there is no snapshot {n}", hint="see `snapshot list`")
    record: dict[str, Any] = parse_json(store.get(key), where=key)
    try:
        snapshot = Snapshot(
            **record
            | {
                "datasets": {name: DatasetPin(**pin) for name, pin in record["datasets"].items()},
                "members": tuple(Member(**member) for member in record["members"]),
                "flags": FlagsPin.parse(record["flags"]) if "flags" in record else None,
            }
        )
    except (KeyError, TypeError) as error:
        raise StoreError(
            f"{key} does not read as a snapshot", code="damaged", hint="restore it from a copy of the store"
        ) from error
    content = _content(snapshot.datasets, snapshot.scorers, snapshot.members, snapshot.flags)
    if sha256_hex(canonical_json(content)) != snapshot.sha:
        raise StoreError(
            f"{key} is damaged: its content does not have its sha",
            code="damaged",
            hint="restore it from a copy of the store",
        )
    return snapshot


def list_snapshots(store: Store) -> list[Snapshot]:
    """Every snapshot that is not retired, oldest first."""
    found = []
    for n in snapshot_numbers(store):
        try:
            found.append(get_snapshot(store, n))
        except NotFoundError:
            continue  # retired since it was listed
    return found


def verify_snapshot(store: Store, snapshot: Snapshot) -> list[str]:
    """What is wrong with a snapshot's files, one line each, after hashing every one; empty if all is well."""
    problems = []
    digests = store.digests(member.file for member in snapshot.members)
    for member, found in zip(snapshot.members, digests, strict=True):
        if found is None:
            problems.append(f"{member.file} is missing")
        elif found != member.sha256:
            problems.append(f"{member.file} is damaged: its sha256 is not {member.sha256}")
    return problems + flaws_of(store, snapshot.flags)


def _checked_members(store: Store, commits: list[Commit]) -> tuple[Member, ...]:
    # One listing: a question for each file would take a bucket minutes. It is made after the markers were read, and
    # a file is there before its marker.
    sizes = {entry.key: entry.bytes for entry in store.entries("data")}
    for commit in commits:
        size = sizes.get(commit.file)
        if size != commit.bytes:
            state = "is missing" if size is None else f"has {size} bytes, not {commit.bytes}"
            raise StoreError(
                f"{commit.file} {state}, though committed", code="damaged", hint="restore it from a copy of the store"
            )
    return tuple(
        Member(commit.scorer_id, commit.unit, commit.file, commit.sha256, commit.bytes, commit.rows, commit.n_bad)
        for commit in commits
    )


def _chosen_scorers(members: tuple[Member, ...]) -> dict[str, str]:
    return fullest_ids(member for member in members if holds_scores(member.scorer_id))


def fullest_ids(members: Iterable[Member | Commit]) -> dict[str, str]:
    """For each name its id with most rows, ties going to the lexically first; sorted by name."""
    rows: dict[str, int] = {}
    for member in members:
        rows[member.scorer_id] = rows.get(member.scorer_id, 0) + member.rows
    chosen: dict[str, str] = {}
    for scorer_id in sorted(rows, key=lambda scorer_id: (-rows[scorer_id], scorer_id)):
        chosen.setdefault(scorer_name(scorer_id), scorer_id)
    return dict(sorted(chosen.items()))


def _content(
    datasets: dict[str, DatasetPin], scorers: dict[str, str], members: tuple[Member, ...], flags: FlagsPin | None
) -> dict[str, Any]:
    content = {
        "datasets": {name: asdict(pin) for name, pin in datasets.items()},
        "scorers": scorers,
        "members": [asdict(member) for member in members],
    }
    # Where nobody flagged anything the content, and so the hash, is what it was before there were flags.
    return content | ({"flags": flags.content()} if flags is not None else {})


def snapshot_key(n: int) -> str:
    """The store key of a snapshot's manifest."""
    return f"snapshots/{n:010d}.json"
