"""The prompts that an evaluation draws."""

from __future__ import annotations

from pathlib import Path

from ranking.errors import UsageError
from training.blocks import TOYWORLD


def read_prompts(source: str) -> list[str]:
    """The prompts of a text file (one a line, blank lines left out), or Toyworld's held-out prompts. UsageError for a
    file that cannot be read or holds none."""
    if source == TOYWORLD:
        from training.toyworld.world import held_out_scenes

        return [scene.prompt for scene in held_out_scenes()]
    try:
        lines = Path(source).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UsageError(
            f"the prompts file {source} cannot be read ({error.strerror})", hint="give a text file, one prompt a line"
        ) from error
    except UnicodeDecodeError as error:
        raise UsageError(f"the prompts file {source} is not text in UTF-8", hint="write one prompt a line") from error
    prompts = list(dict.fromkeys(line.strip() for line in lines if line.strip()))
    if not prompts:
        raise UsageError(f"the prompts file {source} holds no prompt", hint="write one a line")
    return prompts
