"""GET /v1/images: an image's bytes by pointer, as stored or as a thumbnail."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from service.api.files import send_bytes
from service.dependencies import PartsDep, ViewDep
from service.problems import ApiProblem

router = APIRouter(prefix="/v1/images", tags=["images"])


class ImageQuery(BaseModel):
    """Which dataset's image, and how large."""

    model_config = ConfigDict(extra="forbid")

    dataset: str | None = Field(None, description="needed where there are several")
    size: Literal["256", "512"] | None = Field(None, description="a WebP that fits into this square; else as stored")
    v: str | None = Field(None, max_length=64, description="begins the dataset's revision_sha: cacheable for ever")


@router.get(
    "/{uid:path}",
    response_class=Response,
    responses={200: {"content": {"image/jpeg": {}, "image/png": {}, "image/webp": {}}}},
)
def get(uid: str, request: Request, parts: PartsDep, view: ViewDep, query: Annotated[ImageQuery, Query()]) -> Response:
    """The image. Its ETag is the SHA-256 of the bytes sent."""
    dataset = view.dataset(query.dataset)
    if dataset is None:
        raise ApiProblem("image-missing", "The store has no dataset yet.")
    if query.size is None:
        picture = parts.pictures.original(dataset, uid)
    else:
        picture = parts.pictures.thumbnail(dataset, uid, int(query.size))
    fixed = query.v is not None and len(query.v) >= 12 and dataset.revision_sha.startswith(query.v)
    return send_bytes(request, picture.data, sha256=picture.sha256, media_type=picture.media_type, immutable=fixed)
