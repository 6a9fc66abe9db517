"""Runs `pairsieve` commands in this process and returns what a shell would see."""

import contextlib
import io
import json
import os
import sys
from dataclasses import dataclass
from typing import Any
from unittest import mock

from service import cli


@dataclass(frozen=True)
class Shell:
    """Exit status and both streams of one command."""

    status: int
    out: str
    err: str

    def json(self) -> Any:
        """Standard output as JSON."""
        return json.loads(self.out)


def pairsieve(*words: object) -> Shell:
    """Run one command line. The environment is put back, as a process would leave it."""
    out, err = io.StringIO(), io.StringIO()
    status: Any = 0
    with (
        mock.patch.dict(os.environ),
        mock.patch.object(sys, "argv", ["pairsieve", *map(str, words)]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            cli.main()
        except SystemExit as stop:
            status = stop.code or 0
    return Shell(status, out.getvalue(), err.getvalue())
