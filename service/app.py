"""Builds the application: the API and the dashboard over one store. Importing it loads no model library."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import PackageNotFoundError, version

from fastapi import FastAPI

from ranking.settings import Settings, load_settings
from ranking.store.blobs import Store
from service import openapi, problems
from service.api import (
    confidence,
    datasets,
    health,
    images,
    jobs,
    metrics,
    pairs,
    recipes,
    runs,
    samples,
    scorers,
    snapshots,
    studies,
    subsets,
)
from service.api import flags as flags_api
from service.cursors import cursor_key
from service.dashboard import pages
from service.dependencies import Parts
from service.flags import FlagShelf
from service.pictures import Pictures
from service.security import LOOPBACK_NAMES, Shield, check_bind
from service.snapshots import Snapshots
from service.subsets import SubsetShelf


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application over the store that `settings` names (default: the environment's); it is opened when the
    application starts. UsageError for a host that other machines can reach.
    """
    settings = settings or load_settings()
    check_bind(settings.host)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        parts = open_parts(settings)
        app.state.parts = parts
        parts.snapshots.start()
        yield
        parts.snapshots.stop()
        parts.subsets.close()
        parts.pictures.close()

    app = FastAPI(
        title="Pairsieve",
        version=_version(),
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=openapi.operation_id,
    )
    app.openapi = lambda: openapi.document(app)  # type: ignore[method-assign]
    problems.install(app)
    shown = (
        datasets,
        pairs,
        confidence,
        flags_api,
        scorers,
        metrics,
        recipes,
        snapshots,
        subsets,
        images,
        jobs,
        runs,
        studies,
        samples,
        health,
    )
    for module in shown:
        app.include_router(module.router)
    pages.install(app)
    hosts = LOOPBACK_NAMES | {settings.host.strip("[]").lower()}
    app.add_middleware(Shield, hosts=hosts, on_error=app.state.handle_error)
    return app


def open_parts(settings: Settings) -> Parts:
    """What the application lives on; StoreError for a store that cannot be used."""
    store = Store.open(settings.store)
    flags = FlagShelf(store)
    return Parts(
        settings=settings,
        store=store,
        snapshots=Snapshots(store),
        pictures=Pictures(store, settings, flags=flags),
        flags=flags,
        subsets=SubsetShelf(store),
        cursor_key=cursor_key(store),
    )


def _version() -> str:
    try:
        return version("pairsieve")
    except PackageNotFoundError:  # run from a checkout that was not installed
        return "0"
