"""The web page at `/`: one form, and hits as cards. Rendered here; it needs no script."""

from __future__ import annotations

import base64
import io
from typing import Any

from litestar import Controller, Request, get, post
from litestar.datastructures import ResponseHeader, UploadFile
from litestar.di import NamedDependency
from litestar.response import Template
from PIL import Image

from retrieval.catalog import Catalog
from retrieval.errors import InvalidRequest, RetrievalError
from retrieval.hits import SearchResult
from retrieval.imaging.decode import decode_image
from retrieval.search import Retriever
from service.audit import AuditLog
from service.auth import READ, KeyRequired
from service.controllers.login import ask_to_log_in
from service.controllers.query import kind_of
from service.permits import SearchPermits
from service.problems import describe_error
from service.refusals import Refusal
from service.web.form import PageForm, read_form
from service.web.view import PageView, render_results

_PREVIEW_SIDE = 320
_NOT_KEPT = (ResponseHeader(name="Cache-Control", value="no-store"),)


class PageController(Controller):
    """Search by words, and cases like a stored study."""

    path = "/"
    include_in_schema = False
    opt = READ
    exception_handlers = {KeyRequired: ask_to_log_in}  # noqa: RUF012
    response_headers = _NOT_KEPT

    @get()
    async def show(
        self,
        request: Request[Any, Any, Any],
        catalog: NamedDependency[Catalog],
        permits: NamedDependency[SearchPermits],
        audit: NamedDependency[AuditLog],
    ) -> Template:
        """The form; with `text` or `study` in the address, its hits, too."""
        form = read_form(request.query_params.multi_items())
        return await _render(request, form, catalog, permits, audit)


class ImagePageController(Controller):
    """Search by image from the page's form."""

    path = "/search/image"
    include_in_schema = False
    opt = READ
    exception_handlers = {KeyRequired: ask_to_log_in}  # noqa: RUF012
    response_headers = _NOT_KEPT

    @post(status_code=200)
    async def search(
        self,
        request: Request[Any, Any, Any],
        catalog: NamedDependency[Catalog],
        permits: NamedDependency[SearchPermits],
        audit: NamedDependency[AuditLog],
    ) -> Template:
        """Hits for the uploaded image. The image is not kept, so changing a filter needs it once more."""
        fields = await request.form()
        upload = fields.get("image")
        content = await upload.read() if isinstance(upload, UploadFile) else b""
        texts = [(name, value) for name, value in fields.multi_items() if isinstance(value, str)]
        return await _render(request, read_form(texts), catalog, permits, audit, image=content)


async def _render(
    request: Request[Any, Any, Any],
    form: PageForm,
    catalog: Catalog,
    permits: SearchPermits,
    audit: AuditLog,
    image: bytes | None = None,
) -> Template:
    headers: dict[str, str] = {}
    try:
        view, retriever, result = await permits.run(_look_up, form, catalog, image)
    except Refusal as error:
        problem, headers = describe_error(error), error.headers
        view, retriever, result = PageView(status=problem.status, problem=problem), None, None
    if view.study and retriever:
        await audit.study(request, retriever, view.study)
    if result:
        permits.note(result)
        await audit.search(request, result, kind=kind_of(form.query(image)), k=form.k)
    view.session = request.auth.name if request.auth.by_cookie else None
    if view.problem:
        request.scope["state"]["code"] = view.problem.code  # for the log and the metrics
    return Template("page.html", context={"view": view, "form": form}, status_code=view.status, headers=headers)


def _look_up(
    form: PageForm, catalog: Catalog, image: bytes | None
) -> tuple[PageView, Retriever | None, SearchResult | None]:
    """Everything the page shows, and what it was found with, for the audit log.

    A request that cannot be answered still shows the form, and says why.
    """
    view, retriever, result = PageView(), None, None
    try:
        view.models = [status.key for status in catalog.models() if status.collection and status.installed]
        retriever = catalog.retriever(form.model)
        view.model = retriever.model
        view.findings = retriever.facet("present")
        view.severities = sorted(retriever.facet("severities"))
        view.images = sum(retriever.facet("view").values())
        form.require_valid()
        if image is not None and not image:
            raise InvalidRequest("choose an image first: a PNG, JPEG, WebP or DICOM file")
        if image:
            view.preview = _preview(decode_image(image, name="the uploaded file"))
        if form.study:
            view.study = retriever.study(form.study)
        if image or form.looks:
            result = retriever.search(form.query(image))
    except RetrievalError as error:
        view.problem = describe_error(error)
        view.status = view.problem.status
    if result:
        view.results = render_results(result)
    return view, retriever, result


def _preview(image: Image.Image) -> str:
    """The query image, small, as a data address: it goes back to who sent it and is stored nowhere."""
    small = image.copy()
    small.thumbnail((_PREVIEW_SIDE, _PREVIEW_SIDE))
    buffer = io.BytesIO()
    small.save(buffer, "WEBP", quality=80)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
