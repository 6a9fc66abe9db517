"""`pairsieve score` is killed in the middle of a slice: its decoders end with it, and nothing is lost."""

import io
import os
import signal
from pathlib import Path

import numpy as np
import psutil
import pytest
from pickapic_factory import rows, with_raw, write
from PIL import Image
from processes import Processes

from ranking.ingest import ingest
from ranking.plan import create_plan, open_slices, progress
from ranking.store.blobs import Store
from workers.scorers.registry import resolve


def photograph(seed: int) -> bytes:
    noise = np.random.default_rng(seed).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(noise).resize((1600, 1200)).save(out, "JPEG", quality=80)
    return out.getvalue()


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
def test_a_killed_scorer_leaves_no_decoder_and_the_next_run_does_what_is_left(tmp_path: Path) -> None:
    env = {"PAIRSIEVE_STORE": str(tmp_path / "store"), "PAIRSIEVE_DECODERS": "3", "PAIRSIEVE_LEASE_SECONDS": "1"}
    store = Store.open(env["PAIRSIEVE_STORE"])
    pictures = [photograph(seed) for seed in range(24)]
    pairs = [
        with_raw(row, jpg_0=pictures[2 * i], jpg_1=pictures[2 * i + 1]) for i, row in enumerate(rows(12, prompts=12))
    ]
    ingest(store, write(tmp_path / "pairs.parquet", pairs), "pets", slice_items=12)
    plan = create_plan(store, "pets", resolve(["technical"]).values())
    (tmp_path / "logs").mkdir()
    processes = Processes(tmp_path / "logs", env)
    try:
        scoring = processes.start("score", "pets", "--scorers", "technical")

        def busy() -> list[psutil.Process]:
            with_us = [each for each in psutil.Process(scoring.pid).children() if "workers.engine.child" in _line(each)]
            return with_us if any(each.cpu_times().user > 0.4 for each in with_us) else []

        decoders = processes.wait_for("decoder at work", busy, every=0.02)
        os.kill(scoring.pid, signal.SIGKILL)
        scoring.wait()
        processes.wait_for("end of the decoders", lambda: not any(map(_lives, decoders)), timeout=20)
        assert open_slices(store, plan), "it was killed before its end"
        processes.run("score", "pets", "--scorers", "technical")
    finally:
        processes.stop()
    state = progress(store, plan)
    assert (state.units_done, state.units_open, state.items_done) == (2, 0, 24)


def _line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
