"""The program of a process that helps another one train: `python -m training.follow RUN`, with the variables that
torch.distributed reads."""

from __future__ import annotations

import sys


def main(run_id: str) -> int:
    """Train the planned run as one of several; the exit status."""
    from ranking.errors import PairsieveError
    from ranking.settings import load_settings
    from ranking.store.blobs import Store
    from training.trainer import follow

    try:
        follow(Store.open(load_settings().store), run_id)
    except PairsieveError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
