"""`pairsieve serve`: the API and the dashboard on this machine. Starts no worker."""

from __future__ import annotations

import socket
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("serve")(serve)


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on; this machine's own only.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port to listen on; 0 picks a free one.")] = None,
    store: Annotated[str | None, typer.Option(help="The store: a folder or s3://bucket/prefix.")] = None,
) -> None:
    """Serve the API and the dashboard."""
    from ranking.settings import load_settings
    from service.security import check_bind

    given = {"host": host, "port": port, "store": store}
    settings = load_settings().model_copy(update={name: value for name, value in given.items() if value is not None})
    check_bind(settings.host)

    import uvicorn

    from ranking.store.blobs import Store
    from service.app import create_app

    Store.open(settings.store)  # now, while an error is still one line
    listening = listen(settings.host, settings.port)
    application = create_app(settings)
    name = f"[{settings.host}]" if ":" in settings.host else settings.host
    typer.echo(f"Pairsieve serves {settings.store} at http://{name}:{listening.getsockname()[1]}/ (Ctrl-C ends it)")
    config = uvicorn.Config(
        application,
        log_level="warning",
        server_header=False,
        limit_concurrency=256,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=5,
    )
    uvicorn.Server(config).run(sockets=[listening])


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens on host:port; PairsieveError in one line if it cannot be had."""
    from ranking.errors import PairsieveError

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((host.strip("[]"), port))
        made.listen(128)
    except OSError as error:
        made.close()
        raise PairsieveError(
            f"port {port} of {host} cannot be had ({error.strerror or error})",
            code="port-in-use",
            hint="end what uses it, or choose another with --port",
        ) from error
    return made
