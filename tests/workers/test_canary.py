"""The canary: a scorer that gives other numbers here than it gave first is refused before anything is scored."""

import json
from dataclasses import replace

import numpy as np
import pytest
from fake_committee import GREENER, REDDER, FakeCommittee

from ranking.audit import audit
from ranking.canaries import Canary, canary_key, first_canary, get_canary
from ranking.datasets import Dataset
from ranking.errors import StoreError
from ranking.names import sha256_hex
from ranking.plan import attempts, create_plan
from ranking.store.blobs import Store
from ranking.store.commits import list_commits
from workers.attempts import is_environment
from workers.canary import PROMPTS, TOLERANCE, CanaryError, check_canary, pictures
from workers.committees import committee_for
from workers.drive import score_here
from workers.scorers.base import Batch
from workers.scorers.registry import load_committee, specs

BOTH = (REDDER, GREENER)


class Skewed(FakeCommittee):
    """One that is off by a share of its largest score, or worse, for one golden pair."""

    def __init__(self, share: float, precision: str = "float32") -> None:
        super().__init__()
        self.share, self.precision = share, precision

    def score(self, batch: Batch, scorer_ids: tuple[str, ...]) -> dict[str, np.ndarray]:
        scores = super().score(batch, scorer_ids)
        for values in scores.values():
            values[3] += self.share * np.abs(values).max()
        return scores

    def precision_of(self, scorer_id: str) -> str:
        return self.precision


DRAWN = [
    ((256, 256), "54e38a26"),
    ((400, 240), "f9a9a2a9"),
    ((64, 64), "f0303914"),
    ((224, 300), "f04902cf"),
    ((333, 127), "08f166c8"),
    ((512, 384), "be71075c"),
    ((180, 320), "c391e7f3"),
    ((230, 231), "79a91169"),
]
"""Sizes and the first digits of the SHA-256 of their pixels. With other pictures every record of a store is void."""


def test_the_golden_pictures_never_change() -> None:
    drawn = [(picture.size, sha256_hex(picture.tobytes())[:8]) for picture in pictures()]
    assert len(drawn) == len(PROMPTS) == 8 and len(set(drawn)) == 8
    assert drawn == DRAWN


def test_the_first_process_writes_down_what_it_got_and_where(store: Store) -> None:
    check_canary(store, FakeCommittee(), BOTH)
    first = get_canary(store, REDDER)
    by_hand = [np.asarray(picture, np.float64)[..., 0].mean() for picture in pictures()]
    assert first.scores == pytest.approx([red + len(text) for red, text in zip(by_hand, PROMPTS, strict=True)])
    assert first.device == "cpu" and first.versions["torch"] and first.worker.count("/") >= 2
    check_canary(store, FakeCommittee(), BOTH)
    assert get_canary(store, REDDER) == first and len(store.list("canaries")) == 2


@pytest.mark.parametrize("precision", TOLERANCE)
def test_a_later_one_must_agree_within_what_its_precision_allows(store: Store, precision: str) -> None:
    check_canary(store, Skewed(0.0, precision), BOTH)
    check_canary(store, Skewed(0.8 * TOLERANCE[precision], precision), BOTH)
    with pytest.raises(CanaryError, match=r"redder@00000000aaaa on cpu gives golden pair 4 .* from what it gave first"):
        check_canary(store, Skewed(1.3 * TOLERANCE[precision], precision), BOTH)


@pytest.mark.parametrize(
    ("spoil", "what"), [(np.nan, "1 of 8 scores that are not finite"), (None, "every golden pair the score 7")]
)
def test_scores_that_are_not_finite_or_all_the_same_are_refused_and_not_written_down(
    store: Store, spoil: float | None, what: str
) -> None:
    class Spoiled(FakeCommittee):
        def score(self, batch: Batch, scorer_ids: tuple[str, ...]) -> dict[str, np.ndarray]:
            scores = super().score(batch, scorer_ids)
            scores[GREENER][2:3] = spoil or 0
            return scores if spoil else scores | {GREENER: np.full(8, 7.0)}

    with pytest.raises(CanaryError, match=what):
        check_canary(store, Spoiled(), (GREENER,))
    assert store.list("canaries") == []


def test_a_scorer_that_came_with_its_golden_scores_is_held_to_them(store: Store) -> None:
    committee = FakeCommittee()
    committee.golden = tuple(range(8))
    with pytest.raises(CanaryError, match="from what it came with"):
        check_canary(store, committee, BOTH)
    assert store.list("canaries") == []


def test_toyworlds_scorers_come_with_theirs_and_keep_them_in_every_precision(store: Store) -> None:
    toys = [name for name in specs() if name.endswith("-toy")]
    assert len(toys) == 3 and all(len(specs()[name].golden) == 8 for name in toys)
    for precision in ("fp32", "fp16", "bf16"):
        committee = load_committee([f"{name}:{precision}" for name in toys], "cpu")
        check_canary(store, committee, tuple(committee.specs))


def test_a_refused_scorer_is_told_before_any_unit_is_tried(store: Store, dataset: Dataset) -> None:
    plan = create_plan(store, "pets", BOTH)
    canary = Canary(REDDER, (1.0,) * 7 + (2.0,), "cuda:3", "elsewhere/1/2", {"torch": "2.9"}, "2026-01-01T00:00:00Z")
    first_canary(store, canary)
    with pytest.raises(CanaryError, match=r"cuda:3, elsewhere/1/2, torch 2\.9") as refusal:
        score_here(store, plan, FakeCommittee())
    assert "\n" not in str(refusal.value) and is_environment(refusal.value)
    assert not list_commits(store) and not any(attempts(store, plan, piece.unit) for piece in plan.slices)


def test_a_worker_asks_when_it_loads(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.committees.load_committee", lambda names, store: FakeCommittee())
    committee_for(("canary@0000000000cc",), store=store)
    assert [key.rpartition("/")[2] for key in store.list("canaries")] == [f"{GREENER}.json", f"{REDDER}.json"]


def test_the_audit_reads_canaries(store: Store) -> None:
    check_canary(store, FakeCommittee(), BOTH)
    assert audit(store, deep=False).ok
    damaged = json.loads(store.get(canary_key(REDDER))) | {"scorer_id": GREENER}
    store.delete(canary_key(REDDER))
    store.put_if_absent(canary_key(REDDER), json.dumps(damaged).encode())
    with pytest.raises(StoreError, match="names another scorer"):
        get_canary(store, REDDER)
    (finding,) = (each for each in audit(store, deep=False).findings if each.severity == "error")
    assert finding.key == canary_key(REDDER) and finding.invariant == 1
    assert replace(get_canary(store, GREENER), scores=()) != get_canary(store, GREENER)
