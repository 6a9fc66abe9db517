"""The command line. Each command lives in `service/commands` and imports what it needs when it runs."""

from __future__ import annotations

import os
import sys
from typing import Annotated, Final, cast

import typer

from ranking.errors import PairsieveError, UsageError
from service.commands import (
    attribute,
    cache,
    confidence,
    curate,
    demo,
    doctor,
    evaluate,
    flags,
    ingest,
    labels,
    metrics,
    reward,
    score,
    scorers,
    scores,
    serve,
    snapshot,
    status,
    store,
    study,
    style,
    toyworld,
    train,
    work,
)

app = typer.Typer(
    name="pairsieve",
    help="Rank image-preference pairs by quality, cut versioned top-k subsets, train on them, see whether it helped.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
)

_state = {"debug": False}

_MISUSE: Final = cast("type[typer.BadParameter]", typer.BadParameter.__base__)
"""What every wrong word on the command line raises: unknown commands and options, missing arguments, bad values. Typer
exports no name for it."""


@app.callback()
def _root(
    store: Annotated[
        str | None,
        typer.Option(
            help="The store: a folder or s3://bucket/prefix; default $PAIRSIEVE_STORE, else ./pairsieve-data.",
            show_default=False,
        ),
    ] = None,
    debug: Annotated[bool, typer.Option(help="Show the traceback of an error.")] = False,
) -> None:
    _state["debug"] = debug
    if store is not None:
        # Child processes (workers, the API) read the same setting.
        os.environ["PAIRSIEVE_STORE"] = store


for module in (
    demo,
    ingest,
    labels,
    flags,
    score,
    scorers,
    doctor,
    scores,
    snapshot,
    confidence,
    metrics,
    curate,
    train,
    evaluate,
    attribute,
    style,
    reward,
    study,
    serve,
    work,
    status,
    store,
    cache,
    toyworld,
):
    module.register(app)


def main() -> None:
    """The console script: 0 done, 1 failed, 2 bad usage; an error is one line on standard error."""
    try:
        sys.exit(app(prog_name="pairsieve", standalone_mode=False))
    except PairsieveError as error:
        if _state["debug"]:
            raise
        sys.stderr.write(f"error: {error}\n")
        sys.exit(error.exit_code)
    except _MISUSE as error:
        # Of a group without a command the help is all there is to say.
        said = error.message if type(error).__name__ == "NoArgsIsHelpError" else f"error: {_in_a_line(error)}"
        sys.stderr.write(f"{said}\n")
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # The reader of our output went away, as `head` does.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


def _in_a_line(error: typer.BadParameter) -> UsageError:
    message = error.format_message().rstrip(".")
    hint = f"see `{error.ctx.command_path} --help`" if error.ctx is not None else ""
    return UsageError(message[:1].lower() + message[1:], hint=hint)


if __name__ == "__main__":
    main()
