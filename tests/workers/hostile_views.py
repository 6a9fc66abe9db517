"""Views that do to their process what a broken decoder may do, on pictures of a certain colour."""

import os
import signal
import time

import numpy as np
from PIL import Image

from workers.scorers.base import View


def red_of(image: Image.Image) -> int:
    return int(np.asarray(image)[0, 0, 0])


def kill_on_red(image: Image.Image, *, how: str) -> np.ndarray:
    if red_of(image) > 200:
        if how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif how == "exit":
            os._exit(3)
        elif how == "sleep":
            time.sleep(3600)
        elif how == "spin":
            while True:
                pass
        elif how == "memory":
            np.ones(1 << 40, np.uint8)
        elif how == "kill for memory":
            held = []
            while True:
                held.append(bytearray(1 << 24))
        elif how == "text":
            return np.array(["red"], dtype=object)
        raise ValueError("no reds")
    return np.asarray(image, np.float32).mean((0, 1))


def hostile(how: str) -> View:
    return View("hostile_views:kill_on_red", (("how", how),))


def loaded(image: Image.Image) -> np.ndarray:
    """Which of some large modules the process has loaded."""
    import sys

    return np.array([name in sys.modules for name in ("torch", "transformers", "open_clip", "celery")])


LOADED = View("hostile_views:loaded")
