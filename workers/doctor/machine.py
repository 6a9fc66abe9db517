"""What a machine has: processors, memory, disks, packages, and the services it is told of. Loads no torch."""

from __future__ import annotations

import os
import platform
import shutil
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from urllib.parse import urlsplit

from ranking.errors import PairsieveError
from ranking.settings import Settings
from ranking.store.bucket import is_bucket, workspace_of

PACKAGES = ("torch", "torchvision", "open_clip_torch", "transformers", "tokenizers", "safetensors", "huggingface_hub")
_REDIS_SECONDS = 3.0
_CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Memory:
    """Bytes in all and bytes that a new process may take; None where the system does not say."""

    total: int | None
    free: int | None


@dataclass(frozen=True)
class Service:
    """Something that this machine is told of, whether it answers, and in a line what it is or why not."""

    name: str
    ok: bool
    what: str


def processors() -> int:
    """Processors that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        return os.cpu_count() or 1


def main_memory(meminfo: Path = Path("/proc/meminfo"), cgroup: Path = _CGROUP) -> Memory:
    """This machine's memory, or what its container may take of it."""
    total = free = None
    with suppress(OSError, ValueError, IndexError):
        for line in meminfo.read_text().splitlines():
            name, _, rest = line.partition(":")
            if name in ("MemTotal", "MemAvailable"):
                count = int(rest.split()[0]) * 1024
                total, free = (count, free) if name == "MemTotal" else (total, count)
    if total is None:
        with suppress(OSError, ValueError):
            total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with suppress(OSError, ValueError):
        limit = int((cgroup / "memory.max").read_text())
        # What files have left in the page cache counts as taken there, but gives way.
        stat = dict(line.split() for line in (cgroup / "memory.stat").read_text().splitlines())
        taken = int((cgroup / "memory.current").read_text()) - int(stat.get("inactive_file", 0))
        if total is None or limit < total:
            total, free = limit, min(max(0, limit - taken), free if free is not None else limit)
    return Memory(total, free)


def versions() -> dict[str, str | None]:
    """The installed versions of what scorers run on; None for what is not installed."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def disk_free(path: Path) -> int:
    """Bytes free where a folder is, or would be made."""
    place = path
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


def services(settings: Settings) -> list[Service]:
    """The store and the broker of these settings. Makes no store where there is none."""
    return [_store(settings), _broker(settings)]


def _store(settings: Settings) -> Service:
    from ranking.store.blobs import Store

    try:
        if not is_bucket(settings.store) and not workspace_of(settings.store).exists():
            return Service("store", True, f"{settings.store}: none yet; the first ingest makes it")
        uri = Store.open(settings.store).uri
    except (PairsieveError, OSError) as error:
        return Service("store", False, str(error))
    free = "" if is_bucket(uri) else f", {disk_free(workspace_of(uri)) / 1e9:,.0f} GB free"
    return Service("store", True, f"{uri}: answers{free}")


def _broker(settings: Settings) -> Service:
    if settings.broker is None:
        return Service("broker", True, "none set: messages go through a folder, on this machine only")
    from workers.celery_app import check_broker

    parts = urlsplit(settings.broker)
    where = f"{parts.scheme}://{parts.hostname}"  # never the password
    try:
        check_broker(settings.broker)
    except PairsieveError as error:
        return Service("broker", False, str(error))
    import redis

    try:
        with redis.Redis.from_url(
            settings.broker, socket_timeout=_REDIS_SECONDS, socket_connect_timeout=_REDIS_SECONDS
        ) as client:
            server = client.info("server")
    except (redis.RedisError, OSError, ValueError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        return Service("broker", False, f"{where} does not answer ({reason})")
    return Service("broker", True, f"{where}: Redis {server.get('redis_version', 'of unknown version')} answers")
