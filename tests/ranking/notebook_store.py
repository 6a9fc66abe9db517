"""A small store for tests of the Python API: twelve pairs of little JPEGs, made-up scores and embeddings."""

from pathlib import Path

from embedded import CLIP, table_of, vector_of
from pickapic_factory import rows, write
from scored import score_all

from ranking import plan
from ranking.catalog import Catalog
from ranking.ingest import ingest
from ranking.names import sha256_hex
from ranking.store.blobs import Store
from ranking.store.commits import commit_embeddings


def opinion(scorer: str, uid: str) -> float:
    """A score between 0 and 1 that depends on nothing but the names."""
    return int(sha256_hex(f"{scorer} {uid}".encode())[:4], 16) / 65536


def scored_catalog(folder: Path, dataset: str, scorers: tuple[str, ...], *, embedded: bool = False) -> Catalog:
    """A store in `folder / "pairsieve-data"` with one dataset; the last of several scorers has no score for img-4."""
    write(folder / "source" / "part-0.parquet", rows(12), row_group_size=4)
    store = Store.open(folder / "pairsieve-data")
    ingest(store, folder / "source", dataset, slice_items=5)
    if embedded:
        job = plan.create_plan(store, dataset, [CLIP])
        for piece in job.slices:
            items = plan.read_items(store, job, piece)
            images, prompts = (items[name].unique().to_pylist() for name in ("image_uid", "prompt_id"))
            keys = [*images, *prompts]
            table = table_of(
                ["image"] * len(images) + ["prompt"] * len(prompts), keys, [vector_of(key) for key in keys]
            )
            commit_embeddings(store, embedding_id=CLIP, unit=piece.unit, table=table, attempt="test", items=items)

    def score(name: str):
        lacks = len(scorers) > 1 and name == scorers[-1]
        return lambda uid: None if lacks and uid == "img-4" else opinion(name, uid)

    score_all(store, dataset, {f"{name}@{i}{i}{i}{i}{i}{i}{i}{i}": score(name) for i, name in enumerate(scorers)})
    return Catalog(store)
