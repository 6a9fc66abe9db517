"""The program of a decoder process, `python -m workers.engine.child`: makes of pictures what it is told to, within
limits of memory and time, and ends with its parent. Loads no model.

It answers picture by picture, so that whoever sent them knows at which one it died.
"""

from __future__ import annotations

import os
import resource
import select
import signal
import socket
import sys
import threading
import time
from contextlib import suppress
from dataclasses import replace

from ranking.lean import without_pandas
from workers.engine.decoding import examine
from workers.engine.frames import pack_examined, receive, send, unpack_wanted

READY = "ready"
_LOOK_SECONDS = 2.0
_LARGEST_FILE = 1 << 20  # it writes none but what it says when it dies


def main(parent: int, memory_bytes: int, seconds: float) -> None:
    """Answer requests on standard input, which is a socket, until the other side closes it."""
    sock = socket.socket(fileno=os.dup(0))
    _confine(parent, memory_bytes, sock)
    without_pandas()
    send(sock, READY)
    with suppress(BrokenPipeError, ConnectionResetError):
        while (request := receive(sock, most=1 << 40)) is not None:
            head, pictures = request
            wanted = unpack_wanted(head)
            for picture in pictures:
                data = bytes(picture)
                started = time.perf_counter()
                # The kernel ends us when the time is over, even within a decoder that never returns to Python.
                signal.setitimer(signal.ITIMER_REAL, seconds)
                examined = examine(data, wanted)
                signal.setitimer(signal.ITIMER_REAL, 0)
                examined = replace(examined, seconds=time.perf_counter() - started)
                send(sock, *pack_examined(examined, wanted))


def _confine(parent: int, memory_bytes: int, sock: socket.socket) -> None:
    # Ctrl-C and a stop of all processes of a service are the parent's to handle: it may finish what it has in hand.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (_LARGEST_FILE, _LARGEST_FILE))
    with suppress(ValueError, OSError):  # macOS knows no such limit
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    with suppress(OSError):
        os.nice(5)  # where processors are short, the scorer goes first
    threading.Thread(target=_end_with, args=(parent, sock), daemon=True).start()


def _end_with(parent: int, sock: socket.socket) -> None:
    """However the parent dies, the kernel closes its socket; and then we are somebody else's child."""
    poller = select.poll()
    poller.register(sock, 0)
    while not poller.poll(1000 * _LOOK_SECONDS) and os.getppid() == parent:
        pass
    os._exit(1)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
