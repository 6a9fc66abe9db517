"""The wheel of a package, by pip, which knows the user's index and what it asks for. Installs nothing and runs nothing
of it."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from ranking.names import sha256_file
from workers.scorers.files.transfer import Wanted
from workers.scorers.files.wire import PullError

_SECONDS = 600


def receive_package(requirement: str, wanted: Wanted, part: Path, arrived: Callable[[int], None]) -> str:
    """Fetch the wheel of `requirement` to `part` and return its SHA-256. PullError where pip cannot, or gives other
    bytes than the pin says."""
    part.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=part.parent) as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check"]
        command += ["--no-deps", "--only-binary=:all:", "--dest", folder, requirement]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
        except subprocess.TimeoutExpired as error:
            raise _failed(wanted, f"pip did not end within {_SECONDS} s") from error
        wheels = sorted(Path(folder).glob("*.whl"))
        if done.returncode or len(wheels) != 1:
            said = (done.stderr.strip() or "it gave no wheel").splitlines()[-1]
            raise _failed(wanted, f"pip says: {said}")
        found = sha256_file(wheels[0])
        if wanted.sha256 not in (None, found):
            raise PullError(
                f"{wanted.name} did not arrive as it should: its sha256 is {found[:12]}…, not {wanted.sha256[:12]}…",
                code="wrong-bytes",
                hint="ask whoever runs your package index",
            )
        wheels[0].replace(part)
    arrived(part.stat().st_size)
    return found


def _failed(wanted: Wanted, why: str) -> PullError:
    return PullError(
        f"{wanted.name} could not be fetched: {why}",
        code="unreachable",
        hint="install pip here, or download the wheel elsewhere and put it there by hand",
    )
