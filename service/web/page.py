"""The web page at `/`: one form, and hits as cards. Rendered here; it needs no script."""

from __future__ import annotations

import base64
import io
import logging
from functools import partial
from typing import Any

from anyio.to_thread import run_sync
from litestar import Controller, Request, get, post
from litestar.datastructures import ResponseHeader, UploadFile
from litestar.di import NamedDependency
from litestar.response import Template
from PIL import Image

from retrieval.catalog import Catalog
from retrieval.errors import InvalidRequest, RetrievalError
from retrieval.imaging.decoder_pool import PreparedImage
from retrieval.search.retriever import Retriever
from service.access.audit import AuditLog
from service.access.scopes import READ, KeyRequired
from service.api.feedback import save_feedback
from service.api.problems import describe_error
from service.api.search_runner import SearchRunner, kind_of
from service.experiments.entities import ShownResult
from service.experiments.experiment_errors import ExperimentsUnavailable, NotShown, UnknownSearch
from service.experiments.routing import ModelRouter
from service.experiments.runtime import ExperimentRuntime
from service.refusals import Refusal
from service.web.feedback_links import said_by
from service.web.login import ask_to_log_in
from service.web.page_content import PageContent, render_results
from service.web.page_form import PageForm, read_form

_PREVIEW_SIDE = 320
_log = logging.getLogger("cxr.service.experiments")
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
        runner: NamedDependency[SearchRunner],
        experiments: NamedDependency[ExperimentRuntime],
    ) -> Template:
        """The form; with `text` or `study` in the address, its hits, too. A link from a hit says what was made of that."""
        form = read_form(request.query_params.multi_items())
        await keep_said(request, experiments, runner.audit)
        return await _render(request, form, catalog, runner)


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
        runner: NamedDependency[SearchRunner],
    ) -> Template:
        """Hits for the uploaded image. The image is not kept, so changing a filter needs it once more."""
        fields = await request.form()
        upload = fields.get("image")
        content = await upload.read() if isinstance(upload, UploadFile) else b""
        texts = [(name, value) for name, value in fields.multi_items() if isinstance(value, str)]
        return await _render(request, read_form(texts), catalog, runner, image=content)


async def keep_said(request: Request[Any, Any, Any], experiments: ExperimentRuntime, audit: AuditLog) -> None:
    """Keep what following the link has said. An old link, or one that was made up, says nothing.

    Raises:
        AuditUnavailable: it could not be recorded.
    """
    feedback = said_by(request.query_params)
    if feedback is None:
        return
    try:
        await save_feedback(request, feedback, experiments, audit)
    except (UnknownSearch, NotShown):
        return
    except ExperimentsUnavailable as error:
        _log.warning("feedback was lost: %s", error)


async def _render(
    request: Request[Any, Any, Any],
    form: PageForm,
    catalog: Catalog,
    runner: SearchRunner,
    image: bytes | None = None,
) -> Template:
    headers: dict[str, str] = {}
    permits, audit, router = runner.permits, runner.audit, runner.router
    cookies = router.begin_visit() if image or form.looks else []
    try:
        prepared = await _prepare(form, runner, image) if image else None
        view, retriever, result = await permits.run(_look_up, form, catalog, router, image, prepared)
    except Refusal as error:
        problem, headers = describe_error(error), error.headers
        view, retriever, result = PageContent(status=problem.status, problem=problem), None, None
    if view.study and retriever:
        await run_sync(audit.study, request, retriever, view.study)
    if result:
        permits.add_timings(result)
        await run_sync(partial(audit.search, request, result, kind=kind_of(form.query(image)), k=form.k))
    view.session = request.auth.name if request.auth.by_cookie else None
    if view.problem:
        request.scope["state"]["code"] = view.problem.code  # for the log and the metrics
    return Template(
        "page.html", context={"view": view, "form": form}, status_code=view.status, headers=headers, cookies=cookies
    )


async def _prepare(form: PageForm, runner: SearchRunner, image: bytes) -> PreparedImage | RetrievalError | None:
    """The uploaded image, decoded, or why it cannot be: that is said on the page.

    Raises:
        Refusal: the service is too busy.
    """
    try:
        form.require_valid()
        query = form.query(image)
        (prepared,) = await runner.prepare([query], form.model, name="the uploaded file", side=_PREVIEW_SIDE)
    except Refusal:
        raise
    except RetrievalError as error:
        return error
    return prepared


def _look_up(
    form: PageForm,
    catalog: Catalog,
    router: ModelRouter,
    image: bytes | None,
    prepared: PreparedImage | RetrievalError | None,
) -> tuple[PageContent, Retriever | None, ShownResult | None]:
    """Everything the page shows, and what it was found with, for the audit log.

    A request that cannot be answered still shows the form, and says why.
    """
    view, retriever, result = PageContent(), None, None
    try:
        view.models = [status.key for status in catalog.models() if status.is_searchable]
        retriever = catalog.retriever(form.model)
        view.model = retriever.model
        view.findings = retriever.facet("present")
        view.severities = sorted(retriever.facet("severities"))
        view.datasets = sorted(retriever.facet("dataset"))
        view.images = sum(retriever.facet("view").values())
        form.require_valid()
        if image is not None and not image:
            raise InvalidRequest("choose an image first: a PNG, JPEG, WebP or DICOM file")
        if isinstance(prepared, RetrievalError):
            raise prepared
        decoded = prepared
        if decoded and decoded.small:
            view.preview = _preview(decoded.small)
        if form.study:
            view.study = retriever.study(form.study, dataset=form.dataset)
        if image or form.looks:
            query = form.query(image)
            (result,) = router.search_batch(form.model, lambda retriever: retriever.search_batch([query], [decoded]))
    except RetrievalError as error:
        prepared = None  # the error's traceback holds this frame
        view.problem = describe_error(error)
        view.status = view.problem.status
    if result:
        view.results = render_results(result)
    return view, retriever, result


def _preview(small: Image.Image) -> str:
    """The query image as a data address: it goes back to who sent it and is stored nowhere."""
    buffer = io.BytesIO()
    small.save(buffer, "WEBP", quality=80)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
