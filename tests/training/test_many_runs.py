"""Studies train hundreds of runs in one process: none leaves anything behind for the next."""

import gc
import signal
import threading
from pathlib import Path
from typing import Any

import psutil
import torch

from ranking.runs import plan_run
from ranking.store.blobs import Store
from ranking.subsets.catalog import Subset
from training.config import parse_config
from training.trainer import train


def left(store: Store) -> dict[str, Any]:
    """What a process holds when nothing runs."""
    gc.collect()
    return {
        "open files": psutil.Process().num_fds(),
        "threads": threading.active_count(),
        "networks": sum(issubclass(type(each), torch.nn.Module) for each in gc.get_objects()),
        "unfinished files": sorted(path.name for path in store.tmp().iterdir()),
        "signals": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)],
    }


def test_a_run_leaves_no_file_thread_network_or_signal_behind(store: Store, subset: Subset, tiny_model: Path) -> None:
    def trained(seed: int) -> dict[str, Any]:
        values = {
            "model": str(tiny_model),
            "steps": 2,
            "batch": 2,
            "device": "cpu",
            "seed": seed,
            "ema": {},
            "cache": {"reference_draws": 1},
            "checkpoints": {"every": 1},
            "watch": {"samples": {"every": 2, "inference_steps": 1, "prompts": ["a cat"], "images_per_prompt": 1}},
            "evaluation": None,
        }
        train(store, plan_run(store, subset.ref, parse_config(values).model_dump(mode="json")).run_id)
        return left(store)

    trained(0)  # what is loaded once stays
    assert trained(1) == trained(2)
