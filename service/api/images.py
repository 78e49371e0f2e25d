"""`/v1/images`: thumbnails of stored images. The original images are neither stored nor served."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from litestar import Controller, Request, Response, get
from litestar.di import NamedDependency
from litestar.exceptions import NotFoundException
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import PathParameter

from ingest.thumbnails import LINK_NAME, thumbnail_path
from service.access.embedding import resource_policy
from service.access.scopes import READ
from service.api.problems import BUSY_PROBLEMS, KEY_PROBLEMS, problem_responses
from service.load.permits import Permits
from service.refusals import MediaUnavailable

# The name is a hash of the content, so it never changes; `private`, because it shows a patient.
_CACHE_CONTROL = "private, max-age=31536000, immutable"


class ImagesController(Controller):
    """Thumbnails."""

    path = "/v1/images"
    tags = ("images",)
    opt = READ

    @get(
        "/{sha256:str}/thumbnail",
        operation_id="getThumbnail",
        summary="Thumbnail of an image",
        media_type="image/webp",
        responses={
            200: ResponseSpec(bytes, generate_examples=False, description="WebP.", media_type="image/webp"),
            **problem_responses(
                invalid_request_400="sha256: Expected `str` matching regex '^[0-9a-f]{64}$'",
                not_found_404="no thumbnail of this image",
                media_unavailable_503="the folder of the thumbnails cannot be read: Permission denied",
                **KEY_PROBLEMS,
                **BUSY_PROBLEMS,
            ),
        },
    )
    async def get_thumbnail(
        self,
        sha256: Annotated[str, PathParameter(pattern="^[0-9a-f]{64}$", description="`image_sha256` of a hit.")],
        media_dir: NamedDependency[Path],
        thumbnail_permits: NamedDependency[Permits],
    ) -> Response[bytes]:
        """A thumbnail of at most 256 x 256 pixels. A URL always returns the same image."""
        data = await _read(thumbnail_path(media_dir, sha256), thumbnail_permits)
        return Response(data, media_type="image/webp", headers={"Cache-Control": _CACHE_CONTROL})

    @get(
        f"/{{sha256:str}}/{LINK_NAME}",
        operation_id="getLinkedThumbnail",
        summary="Thumbnail that the Qdrant dashboard shows",
        media_type="image/webp",
        responses={
            200: ResponseSpec(bytes, generate_examples=False, description="WebP.", media_type="image/webp"),
            **problem_responses(
                invalid_request_400="sha256: Expected `str` matching regex '^[0-9a-f]{64}$'",
                cross_site_403="pages of another site may not show this image",
                not_found_404="no thumbnail of this image",
                media_unavailable_503="the folder of the thumbnails cannot be read: Permission denied",
                **KEY_PROBLEMS,
                **BUSY_PROBLEMS,
            ),
        },
    )
    async def get_linked_thumbnail(
        self,
        request: Request[Any, Any, Any],
        sha256: Annotated[str, PathParameter(pattern="^[0-9a-f]{64}$", description="`image_sha256` of a payload.")],
        media_dir: NamedDependency[Path],
        thumbnail_permits: NamedDependency[Permits],
        dashboard_origins: NamedDependency[tuple[str, ...]],
    ) -> Response[bytes]:
        """The same image as the thumbnail; payloads link to it. Pages of the Qdrant dashboard may show it."""
        policy = resource_policy(request, dashboard_origins)
        data = await _read(thumbnail_path(media_dir, sha256), thumbnail_permits)
        headers = {"Cache-Control": "no-store", "Cross-Origin-Resource-Policy": policy}
        return Response(data, media_type="image/webp", headers=headers)


async def _read(path: Path, permits: Permits) -> bytes:
    try:
        return await permits.run(path.read_bytes)
    except (FileNotFoundError, NotADirectoryError):
        raise NotFoundException("no thumbnail of this image") from None
    except OSError as error:
        raise MediaUnavailable(f"the folder of the thumbnails cannot be read: {error.strerror}") from error
