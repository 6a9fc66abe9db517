"""What judges and embeddings say of samples, kept beside them: a base model's samples are judged once for all its
runs."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from ranking.errors import PairsieveError, UsageError
from ranking.store.blobs import Store
from training.evaluation.samples import Samples
from training.evaluation.winrates import Margin, repeatability
from workers.scorers.base import Batch, Embeddings, ScorerSpec
from workers.scorers.registry import Committee, choose, load_committee, resolve

ORACLE = "oracle"
REPEATABILITY = "repeatability"
_JPEG_QUALITY = 95
_PICTURES_AT_ONCE = 256

Floats = NDArray[np.float32]


@dataclass
class Judges:
    """Judges by name, loaded when the first picture needs them that they have not seen."""

    store: Store
    names: tuple[str, ...]
    device: str
    _committee: Committee | None = None

    def scores(self, samples: Samples) -> dict[str, Floats]:
        """Scores (N,) of samples by judge. UsageError where the oracle does not know a prompt, PairsieveError for a
        score that is no number."""
        found = self._scores(samples)
        if ORACLE in self.names:
            found[ORACLE] = _oracle(samples)
        return {name: found[name] for name in self.names}

    def margin(self, judge: str, wanted: float | str | None, samples: Samples) -> Margin:
        """The tie margin of a judge: a width, or "repeatability", measured on `samples` and the same saved as JPEG at
        quality 95, a change that nobody sees. By default the oracle has its own and other judges none."""
        if wanted == REPEATABILITY:
            if judge == ORACLE:
                raise UsageError("the oracle has a tie margin of its own", hint=f"leave {ORACLE} out of ties")
            again = replace(samples, key=f"{samples.id}-jpeg{_JPEG_QUALITY}", images=list(map(_jpeg, samples.images)))
            first = self._scores(samples)[judge]
            return Margin(repeatability(first, self._scores(again)[judge]), REPEATABILITY)
        if wanted is not None:
            return Margin(float(wanted), "absolute")
        if judge == ORACLE:
            from training.toyworld.oracle import TIE_MARGIN

            return Margin(TIE_MARGIN, ORACLE)
        return Margin()

    def ids(self) -> dict[str, str]:
        """Scorer ids by the judge's name as it was given, the oracle left out. Errors are those of `resolve`."""
        scorers = [name for name in self.names if name != ORACLE]
        resolve(scorers, store=self.store)
        return {name: next(iter(resolve([name], store=self.store).values())) for name in scorers}

    def _scores(self, samples: Samples) -> dict[str, Floats]:
        ids = self.ids()
        keys = {scorer_id: _key(samples, scorer_id) for scorer_id in ids.values()}
        unseen = [scorer_id for scorer_id, key in keys.items() if not self.store.exists(key)]
        if unseen:
            if self._committee is None:
                self._committee = load_committee(list(ids), self.device, store=self.store)
            found = self._committee.score_pictures(samples.images, samples.prompts)
            for scorer_id in unseen:
                if not np.isfinite(found[scorer_id]).all():
                    raise PairsieveError(f"the judge {scorer_id} gave a score that is no number", code="judge-failed")
                _keep(self.store, keys[scorer_id], pa.table({"score": found[scorer_id]}))
        kept = {scorer_id: _kept(self.store, key)["score"].to_numpy() for scorer_id, key in keys.items()}
        return {name: kept[scorer_id] for name, scorer_id in ids.items()}


def embeddings(store: Store, scorer: str, samples: Samples, device: str) -> Floats:
    """The unit embeddings (N, d) of samples by a scorer that has some; UsageError for one that has none."""
    embedding_id = embedding_of(store, scorer)
    key = _key(samples, embedding_id)
    if not store.exists(key):
        found = embed(load_committee([scorer], device, store=store), samples.images, samples.prompts).image
        _keep(store, key, pa.table({"vector": pa.FixedSizeListArray.from_arrays(found.ravel(), found.shape[1])}))
    column = _kept(store, key)["vector"].combine_chunks()
    return np.asarray(column.flatten().to_numpy()).reshape(len(column), -1)


def embedding_of(store: Store, scorer: str) -> str:
    """The id of a scorer's embedding; UsageError where it has none, and says which have."""
    spec = choose(scorer, store=store)
    if spec.embedding_id is None:
        raise UsageError(f"scorer {scorer} has no embedding", hint="take one that has, such as clip-l14 or clip-toy")
    return spec.embedding_id


def embed(committee: Committee, images: Sequence[Image.Image], prompts: Sequence[str]) -> Embeddings:
    """Unit embeddings of images (N, d) and of their prompts (N, d), by the first scorer of a committee."""
    spec: ScorerSpec = next(iter(committee.specs.values()))
    assert spec.embedding_id is not None
    whole = Batch.of(images, prompts, spec.views)
    parts = []
    for start in range(0, len(whole), _PICTURES_AT_ONCE):
        batch = whole.part(start, min(start + _PICTURES_AT_ONCE, len(whole)))
        found = committee.embed(batch, spec.embedding_id)
        parts.append((found.image[batch.image_of], found.prompt[batch.prompt_of]))
    return Embeddings(*(np.concatenate(each) for each in zip(*parts, strict=True)))


def _oracle(samples: Samples) -> Floats:
    from training.toyworld import oracle

    try:
        return oracle.judge(np.stack([np.asarray(image) for image in samples.images]), samples.prompts).utility
    except ValueError as error:
        raise UsageError(f"the oracle cannot judge these prompts ({error})", hint="choose scorers as judges") from error


def _key(samples: Samples, judge_id: str) -> str:
    return f"judgements/{samples.id}/{judge_id}.parquet"


def _keep(store: Store, key: str, table: pa.Table) -> None:
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    store.put_if_absent(key, buffer.getvalue())


def _kept(store: Store, key: str) -> pa.Table:
    return pq.read_table(store.local(key), partitioning=None)


def _jpeg(image: Image.Image) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=_JPEG_QUALITY)
    return Image.open(buffer).convert("RGB")
