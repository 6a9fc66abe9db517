"""GET /v1/samples: what models drew when they were evaluated."""

from __future__ import annotations

from fastapi import APIRouter, Path, Request
from starlette.responses import Response

from service.api.files import send_bytes
from service.api.models import SampleList, SampleOut
from service.dependencies import NoQuery, PartsDep
from service.samples import list_samples, sample_picture, samples_key

router = APIRouter(prefix="/v1/samples", tags=["samples"])


@router.get("/{samples_id}")
def get(samples_id: str, parts: PartsDep, _query: NoQuery) -> SampleList:
    """The samples of one model, as an evaluation's `base_samples` and `run_samples` name them. Those of two models
    have equal prompts and seeds at equal places."""
    items = [
        SampleOut(index=each.index, prompt=each.prompt, seed=each.seed, url=sample_url(samples_id, each.index))
        for each in list_samples(parts.store, samples_key(samples_id))
    ]
    return SampleList(items=items)


@router.get(
    "/{samples_id}/{index}",
    response_class=Response,
    responses={200: {"content": {"image/png": {}}}},
)
def image(
    request: Request, samples_id: str, parts: PartsDep, _query: NoQuery, index: int = Path(ge=0, le=2**31)
) -> Response:
    """One sample's image."""
    picture = sample_picture(parts.store, samples_key(samples_id), index)
    return send_bytes(request, picture.data, sha256=picture.sha256, media_type=picture.media_type, immutable=True)


def sample_url(samples_id: str, index: int) -> str:
    """The address of one sample's image."""
    return f"/v1/samples/{samples_id}/{index}"
