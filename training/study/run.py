"""Carries a study out: begins it or goes on where it was stopped, cell by cell, and makes the table when all
are done."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ranking.errors import EmptySubsetError, UsageError
from ranking.features.pairs import PairTable
from ranking.names import canonical_json, sha256_hex
from ranking.store.blobs import Store
from ranking.store.parquet import put_parquet
from ranking.store.refs import pin
from ranking.store.snapshots import Snapshot, create_snapshot, get_snapshot, latest_snapshot
from ranking.studies import (
    Cell,
    Study,
    find_cell,
    find_study,
    finish_cell,
    finish_study,
    plan_study,
    study_folder,
    study_id,
    study_result,
)
from ranking.subsets.catalog import SnapshotRef
from ranking.subsets.recipe import parse_recipe
from ranking.subsets.select import create_subset
from training.progress import Progress, silent
from training.study.arms import expand
from training.study.judges import Judge, resolve_judges, tally
from training.study.result import make_result
from training.study.spec import StudySpec, parse_study
from training.study.tallies import TALLIES, Bench, Tally, World
from training.study.trained import model_tallies


def run_study(store: Store, spec: StudySpec, *, progress: Progress | None = None) -> tuple[Study, dict[str, Any]]:
    """Fill every cell that is open and return the study with its result (see `training.study.result`).

    A study that was begun goes on, on the snapshot that its first run found; one that is done is read. `progress` is
    told of "cells" and, where models are trained, of the stages of each training.
    """
    study = begin_study(store, spec)
    done = study_result(store, study)
    if done is not None:
        return study, done
    tell = progress or silent
    table = PairTable(store, get_snapshot(store, study.snapshot.n), study.spec["dataset"])
    world, cells = World(table), []
    tell("cells", 0, len(study.cells))
    for number, (arm, seed) in enumerate(study.cells):
        inner = _stages(tell, number, len(study.cells))
        cells.append(find_cell(store, study, arm, seed) or _fill(store, study, table, world, arm, seed, inner))
        tell("cells", number + 1, len(study.cells))
    return study, finish_study(store, study, make_result(study, cells, read_tallies(store, cells)))


def begin_study(store: Store, spec: StudySpec) -> Study:
    """The study of this content, recorded now unless it was begun before; nothing of it is filled yet.

    Raises UsageError or UnknownNameError that names the arm, control or judge that does not fit the snapshot, and for a
    study whose judges have other weights, or evaluates other prompts, than when it began.
    """
    planned = plan_of(store, spec)
    if find_study(store, planned.name, planned.id) is not None:
        _check_unchanged(store, planned)
        return planned
    snapshot = get_snapshot(store, planned.snapshot.n)
    pin(store, "study", planned.id, snapshot, why=f"study {spec.name}")
    return plan_study(store, planned)


def plan_of(store: Store, spec: StudySpec) -> Study:
    """The study as it was begun, or as it would be begun now; records nothing. Errors are those of `begin_study`."""
    content = spec.canonical()
    begun = find_study(store, spec.name, study_id(content))
    if begun is not None:
        return begun
    snapshot = _snapshot(store, spec)
    table = PairTable(store, snapshot, spec.dataset)
    arms = expand(spec, table)
    judges = resolve_judges(spec, table, arms)
    return Study(
        name=spec.name,
        id=study_id(content),
        spec=content,
        snapshot=SnapshotRef(snapshot.n, snapshot.sha),
        arms=tuple(arm.plain() for arm in arms),
        judges=tuple(judge.plain() | _prompts(spec, judge) for judge in judges),
    )


def read_tallies(store: Store, cells: list[Cell]) -> dict[tuple[str, int], dict[str, Tally]]:
    """By (arm, seed) and judge what was counted, after the files were hashed; StoreError for a damaged one."""
    found = {}
    for cell in cells:
        rows = pq.read_table(store.checked_path(cell.tallies.file, cell.tallies.sha256), partitioning=None)
        names = pc.unique(rows["judge"]).to_pylist()
        found[cell.arm, cell.seed] = {name: _tally(rows.filter(pc.equal(rows["judge"], name))) for name in names}
    return found


def _fill(store: Store, study: Study, table: PairTable, world: World, arm: str, seed: int, tell: Progress) -> Cell:
    asked = next(each for each in study.arms if each["name"] == arm)
    recipe = parse_recipe(asked["recipe"] | {"seed": seed}, where=f"arm {arm} of study {study.name}")
    try:
        subset = create_subset(store, recipe, table.snapshot, table=table)
    except EmptySubsetError as error:
        raise EmptySubsetError(f"arm {arm} of study {study.name} is empty: {error.message}", hint=error.hint) from error
    bench = Bench(table, subset, world)
    counted: dict[str, Tally] = {}
    for judge in study.judges:
        if judge["of"] == "subset":
            counted[judge["name"]] = tally(judge["name"], bench)
    run, models = None, [judge["name"] for judge in study.judges if judge["of"] == "model"]
    if models:
        spec = parse_study(study.spec, where=f"study {study.name}")
        run, found = model_tallies(store, spec, subset.ref, seed=seed, judges=models, progress=tell)
        counted |= found

    def batches() -> Iterator[pa.RecordBatch]:
        for name, each in counted.items():
            yield each.batch(name)

    file = put_parquet(store, f"{study_folder(study.name, study.id)}/tallies", TALLIES, batches())
    return finish_cell(store, study, Cell(arm, seed, subset.ref, subset.rows, run, file))


def _stages(tell: Progress, number: int, cells: int) -> Progress:
    """Progress within one cell, counted on over all of them where each has as much to do."""

    def inner(stage: str, done: int, total: int) -> None:
        alike = stage in ("train", "run")
        tell(stage, *((number * total + done, cells * total) if alike else (done, total)))

    return inner


def _snapshot(store: Store, spec: StudySpec) -> Snapshot:
    if spec.snapshot is not None:
        return get_snapshot(store, spec.snapshot)
    return latest_snapshot(store) or create_snapshot(store)


def _prompts(spec: StudySpec, judge: Judge) -> dict[str, str]:
    """For a judge of models the hash of the prompts that they draw, by which a resumed study knows them."""
    if judge.of == "subset":
        return {}
    from training.evaluation.prompts import read_prompts

    evaluation = spec.train_config(0, (judge.name,)).evaluation
    assert evaluation is not None
    return {"prompts": sha256_hex(canonical_json(read_prompts(evaluation.prompts)))}


def _check_unchanged(store: Store, study: Study) -> None:
    """A judge of models must be what it was: weights and prompts may have changed under their names."""
    spec = parse_study(study.spec, where=f"study {study.name}")
    for judge in study.judges if study_result(store, study) is None else ():
        if judge["of"] != "model":
            continue
        found = judge["id"]
        if found:
            from workers.scorers.registry import resolve

            found = resolve([judge["name"]], store=store)[judge["name"]]
        now = Judge(judge["name"], judge["meaning"], "model")
        if found != judge["id"] or _prompts(spec, now)["prompts"] != judge["prompts"]:
            changed = "weights" if found != judge["id"] else "prompts"
            raise UsageError(
                f"study {study.name} was begun with other {changed} of judge {judge['name']}",
                code="study-changed",
                hint="give the study another name to begin again",
            )


def _tally(rows: pa.Table) -> Tally:
    part, whole = (rows[name].to_numpy() for name in ("part", "whole"))
    return Tally(tuple(rows["prompt"].to_pylist()), part, whole)
