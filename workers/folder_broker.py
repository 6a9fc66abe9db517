"""A message broker in a folder, for one machine without Redis: kombu's virtual transport over atomic renames.

Not kombu's own `filesystem` transport: that one shows a message under its final name before it is written (a
reader can take half of it, and the decoding error ends the worker), moves it through the system's temporary
folder, which may be another disk, and forgets it when the worker that took it is killed.
"""

# mypy: disable-error-code="no-untyped-call"

import contextlib
import fcntl
import json
import os
import re
import time
import uuid
from pathlib import Path
from queue import Empty
from typing import Any

from celery.utils.log import get_logger
from kombu.exceptions import ChannelError
from kombu.transport import virtual

from workers.messages import flaw_of

logger = get_logger(__name__)

_QUEUE = re.compile(r"[A-Za-z0-9@_-][A-Za-z0-9@._-]{0,127}")
_LONGEST_WAIT = 0.5  # seconds
_RECOVER_EVERY = 5.0  # seconds between looks for messages in the hands of the dead
_LOCK_AGE = 1.0  # a lock younger than this may be in the making: created, not yet held
_ROOM_AGE = 60.0  # the same for a room without a lock


class Channel(virtual.Channel):
    """Queues as folders of JSON files: `queues/<queue>/<time>-<id>.json`.

    A message is written in `tmp/` and renamed into its queue, so it is seen whole or not at all. Taking it is
    a rename into `taken/<room>/`, so one consumer gets it. The room is locked for as long as its process
    lives; messages in an unlocked room go back to their queues.
    """

    supports_fanout = False

    def __init__(self, connection: Any, **kwargs: Any) -> None:
        super().__init__(connection, **kwargs)
        self._folder = Path(connection.client.transport_options["folder"])
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name in ("tmp", "taken", "rejected", "queues"):
            (self._folder / name).mkdir(exist_ok=True, mode=0o700)
        self._room: Path | None = None
        self._lock: int | None = None
        self._taken: dict[str, tuple[str, Path]] = {}
        self._recovered = float("-inf")

    def _put(self, queue: str, message: dict[str, Any], **_: Any) -> None:
        # Wall time, because the order must survive a restart; ties do not matter.
        name = f"{time.time_ns():020d}-{uuid.uuid4().hex}.json"
        unfinished = self._folder / "tmp" / name
        try:
            unfinished.write_text(json.dumps(message), encoding="utf-8")
            unfinished.replace(self._queue_folder(queue) / name)
        except OSError as error:
            unfinished.unlink(missing_ok=True)
            raise ChannelError(f"cannot queue a message in {self._folder}: {error.strerror}") from error

    def _get(self, queue: str, timeout: float | None = None) -> dict[str, Any]:  # noqa: ARG002 - kombu's signature
        if time.monotonic() - self._recovered > _RECOVER_EVERY:
            self._recovered = time.monotonic()
            self._recover()
        for name in self._names(queue):
            taken = self._own_room() / f"{queue}~{name}"
            try:
                (self._queue_folder(queue) / name).rename(taken)
            except FileNotFoundError:
                continue  # another consumer was quicker
            payload = self._read(taken)
            if payload is not None:
                self._taken[payload["properties"]["delivery_tag"]] = (queue, taken)
                return payload
        raise Empty

    def _read(self, taken: Path) -> dict[str, Any] | None:
        """The message, or None for a file that is not one; that is put aside, because an error would end the
        worker."""
        try:
            payload: dict[str, Any] = json.loads(taken.read_bytes())
            flaw = flaw_of(payload, self)
        except ValueError as error:
            flaw = str(error)
        if flaw:
            logger.warning("Put aside %s, which is not a message: %s", taken.name, flaw)
            taken.replace(self._folder / "rejected" / taken.name)
            return None
        return payload

    def _size(self, queue: str) -> int:
        return len(self._names(queue))

    def _purge(self, queue: str) -> int:
        names = self._names(queue)
        for name in names:
            (self._queue_folder(queue) / name).unlink(missing_ok=True)
        return len(names)

    def basic_ack(self, delivery_tag: str, multiple: bool = False) -> None:
        super().basic_ack(delivery_tag, multiple)
        _, taken = self._taken.pop(delivery_tag, (None, None))
        if taken is not None:
            taken.unlink(missing_ok=True)

    def basic_reject(self, delivery_tag: str, requeue: bool = False) -> None:
        super().basic_reject(delivery_tag, requeue)  # with requeue this calls _restore, which takes the tag away
        _, taken = self._taken.pop(delivery_tag, (None, None))
        if taken is not None:
            taken.unlink(missing_ok=True)

    def _restore(self, message: virtual.Message) -> None:
        queue, taken = self._taken.pop(message.delivery_tag, (None, None))
        if queue is not None and taken is not None:
            self._give_back(queue, taken)

    def close(self) -> None:
        super().close()  # restores what is not acknowledged
        if self._lock is not None and self._room is not None:
            os.close(self._lock)
            self._lock = None
            _remove_room(self._room)

    def _names(self, queue: str) -> list[str]:
        with os.scandir(self._queue_folder(queue)) as entries:
            return sorted(entry.name for entry in entries if entry.name.endswith(".json"))

    def _queue_folder(self, queue: str) -> Path:
        if not _QUEUE.fullmatch(queue):
            raise ChannelError(f"queue name {queue!r} is not allowed")
        folder = self._folder / "queues" / queue
        folder.mkdir(exist_ok=True, mode=0o700)
        return folder

    def _own_room(self) -> Path:
        if self._room is None:
            room = self._folder / "taken" / uuid.uuid4().hex
            room.mkdir(mode=0o700)
            # Close-on-exec, so a spawned pool child does not keep the room of its dead parent locked.
            self._lock = os.open(room / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            self._room = room
        return self._room

    def _recover(self) -> None:
        """Give back what processes took that have died since: the kernel dropped their locks."""
        for room in (self._folder / "taken").iterdir():
            if room == self._room:
                continue
            try:
                lock = os.open(room / "lock", os.O_RDWR | os.O_CLOEXEC)
            except FileNotFoundError:
                if time.time() - _mtime(room) > _ROOM_AGE:
                    _remove_room(room)
                continue
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if time.time() - _mtime(room / "lock") > _LOCK_AGE:
                    for taken in sorted(room.glob("*~*.json")):
                        logger.info("Giving back %s, whose worker is gone", taken.name)
                        self._give_back(taken.name.partition("~")[0], taken)
                    _remove_room(room)
            except BlockingIOError:
                continue  # its process lives
            except FileNotFoundError:
                continue  # another consumer recovers it too
            finally:
                os.close(lock)

    def _give_back(self, queue: str, taken: Path) -> None:
        taken.rename(self._queue_folder(queue) / taken.name.partition("~")[2])


class Transport(virtual.Transport):
    """Works in the folder that the transport option `folder` names."""

    Channel = Channel
    default_port = 0  # type: ignore[assignment]
    driver_type = "folder"
    driver_name = "folder"
    implements = virtual.Transport.implements.extend(
        asynchronous=False, exchange_type=frozenset(["direct"]), heartbeats=False
    )

    def drain_events(self, connection: Any, timeout: float | None = None) -> None:  # type: ignore[override]
        """Wait for a message, but not for long: Celery looks whether it was told to stop only in between."""
        super().drain_events(connection, timeout=min(timeout or _LONGEST_WAIT, _LONGEST_WAIT))

    def driver_version(self) -> str:
        """No driver, no version."""
        return "N/A"


def _mtime(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return time.time()


def _remove_room(room: Path) -> None:
    (room / "lock").unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # gone already, or another consumer is recovering it
        room.rmdir()
