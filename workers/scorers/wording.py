"""Wording that a model was trained with, read from its authors' published package. It decides scores to the character
and is theirs, so it is fetched like weights; nothing of the package is run."""

from __future__ import annotations

import ast
import zipfile
from collections.abc import Sequence
from pathlib import Path

from ranking.errors import PairsieveError

_LARGEST = 2**20


class WordingError(PairsieveError):
    """A package does not hold the wording that is looked for."""

    default_code = "weights-unreadable"


def constants(wheel: Path, member: str, names: Sequence[str]) -> dict[str, str]:
    """String constants that a module of a wheel assigns at its top level, by name.

    `member` is the module's path in the wheel. WordingError for a file that is no wheel, lacks the module, or
    whose module does not assign each name one literal string.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            if archive.getinfo(member).file_size > _LARGEST:
                raise _refused(wheel, f"is larger than {_LARGEST} bytes in {member}")
            body = ast.parse(archive.read(member).decode("utf-8")).body
    except (zipfile.BadZipFile, KeyError, UnicodeDecodeError, SyntaxError) as error:
        raise _refused(wheel, f"has no readable module {member}") from error
    found: dict[str, str] = {}
    for node in body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            named = (target.id for target in node.targets if isinstance(target, ast.Name))
            found |= {name: node.value.value for name in named if name in names}
    lacking = [name for name in names if name not in found]
    if lacking:
        raise _refused(wheel, f"does not say {', '.join(lacking)} in {member}")
    return found


def _refused(wheel: Path, what: str) -> WordingError:
    return WordingError(f"the package {wheel} {what}", hint="fetch it again with `pairsieve scorers pull`")
