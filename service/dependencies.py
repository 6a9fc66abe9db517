"""What routes ask for: the app's parts, the current view of the store, and query parameters without
strangers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Query, Request
from pydantic import BaseModel, ConfigDict

from ranking.settings import Settings
from ranking.store.blobs import Store
from service.flags import FlagShelf
from service.pictures import Pictures
from service.snapshots import Snapshots, View
from service.subsets import SubsetShelf


@dataclass(frozen=True)
class Parts:
    """Everything that lives as long as the app."""

    settings: Settings
    store: Store
    snapshots: Snapshots
    pictures: Pictures
    flags: FlagShelf
    subsets: SubsetShelf
    cursor_key: bytes


class NoParameters(BaseModel):
    """The query of a route that takes no parameter: any is refused."""

    model_config = ConfigDict(extra="forbid")


def get_parts(request: Request) -> Parts:
    """The parts of the app that serves this request."""
    parts: Parts = request.app.state.parts
    return parts


def get_view(request: Request) -> View:
    """The view of the store that this request sees, from beginning to end."""
    return get_parts(request).snapshots.view


PartsDep = Annotated[Parts, Depends(get_parts)]
ViewDep = Annotated[View, Depends(get_view)]
NoQuery = Annotated[NoParameters, Query()]
