"""The web page at `/`: one form, and hits as cards. Rendered here; it needs no script."""

from __future__ import annotations

import base64
import io
from typing import Any

from litestar import Controller, Request, get, post
from litestar.datastructures import UploadFile
from litestar.di import NamedDependency
from litestar.response import Template
from PIL import Image

from retrieval.catalog import Catalog
from retrieval.errors import InvalidRequest, RetrievalError
from retrieval.imaging.decode import decode_image
from service.permits import SearchPermits
from service.problems import describe_error
from service.web.form import PageForm, read_form
from service.web.view import PageView, render_results

_PREVIEW_SIDE = 320


class PageController(Controller):
    """Search by words, and cases like a stored study."""

    path = "/"
    include_in_schema = False

    @get()
    async def show(
        self,
        request: Request[Any, Any, Any],
        catalog: NamedDependency[Catalog],
        permits: NamedDependency[SearchPermits],
    ) -> Template:
        """The form; with `text` or `study` in the address, its hits, too."""
        return await _render(read_form(request.query_params.multi_items()), catalog, permits)


class ImagePageController(Controller):
    """Search by image from the page's form."""

    path = "/search/image"
    include_in_schema = False

    @post(status_code=200)
    async def search(
        self,
        request: Request[Any, Any, Any],
        catalog: NamedDependency[Catalog],
        permits: NamedDependency[SearchPermits],
    ) -> Template:
        """Hits for the uploaded image. The image is not kept, so changing a filter needs it once more."""
        fields = await request.form()
        upload = fields.get("image")
        content = await upload.read() if isinstance(upload, UploadFile) else b""
        texts = [(name, value) for name, value in fields.multi_items() if isinstance(value, str)]
        return await _render(read_form(texts), catalog, permits, image=content)


async def _render(form: PageForm, catalog: Catalog, permits: SearchPermits, image: bytes | None = None) -> Template:
    view = await permits.run(_look_up, form, catalog, image)
    return Template("page.html", context={"view": view, "form": form}, status_code=view.status)


def _look_up(form: PageForm, catalog: Catalog, image: bytes | None) -> PageView:
    """Everything the page shows. A request that cannot be answered still shows the form, and says why."""
    view = PageView()
    try:
        view.models = [status.key for status in catalog.models() if status.collection and status.installed]
        retriever = catalog.retriever(form.model)
        view.model = retriever.model
        view.findings = retriever.facet("present")
        view.images = sum(retriever.facet("view").values())
        form.require_valid()
        options: dict[str, Any] = {"filters": form.filters, "k": form.k, "rerank": form.rerank}
        if image is not None:
            if not image:
                raise InvalidRequest("choose an image first: a PNG, JPEG or WebP file")
            picture = decode_image(image, name="the uploaded file")
            view.preview = _preview(picture)
            view.results = render_results(retriever.search_image(picture, **options))
        elif form.text:
            view.results = render_results(retriever.search_text(form.text, **options))
        elif form.study:
            view.study = retriever.study(form.study)
            view.results = render_results(retriever.search_similar(form.study, **options))
    except RetrievalError as error:
        view.problem = describe_error(error)
        view.status = view.problem.status
    return view


def _preview(image: Image.Image) -> str:
    """The query image, small, as a data address: it goes back to who sent it and is stored nowhere."""
    small = image.copy()
    small.thumbnail((_PREVIEW_SIDE, _PREVIEW_SIDE))
    buffer = io.BytesIO()
    small.save(buffer, "WEBP", quality=80)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
