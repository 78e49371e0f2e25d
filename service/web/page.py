"""The web page at `/`: one form, and hits as cards. It is rendered here and needs no script."""

from __future__ import annotations

import base64
import io
import logging
from dataclasses import dataclass
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
from service.api.problems import Problem, describe_error
from service.api.search_runner import SearchRunner, kind_of
from service.experiments.entities import ShownResult
from service.experiments.experiment_errors import ExperimentsUnavailable, NotShown, UnknownSearch
from service.experiments.routing import ModelRouter
from service.experiments.runtime import ExperimentRuntime
from service.refusals import Refusal
from service.web.feedback_links import parse_feedback
from service.web.login import redirect_to_login
from service.web.page_content import PageContent, arrange_results
from service.web.page_form import PageForm, read_page_form

_PREVIEW_SIZE = 320
_NO_STORE = (ResponseHeader(name="Cache-Control", value="no-store"),)
_log = logging.getLogger("cxr.service.experiments")


@dataclass(frozen=True, slots=True)
class _Upload:
    """The bytes of an uploaded image, with the decoded image or the problem with it."""

    content: bytes
    decoded: PreparedImage | None = None
    problem: Problem | None = None


class PageController(Controller):
    """Search by text, and by a stored study."""

    path = "/"
    include_in_schema = False
    opt = READ
    exception_handlers = {KeyRequired: redirect_to_login}  # noqa: RUF012
    response_headers = _NO_STORE

    @get()
    async def show(
        self,
        request: Request[Any, Any, Any],
        catalog: NamedDependency[Catalog],
        runner: NamedDependency[SearchRunner],
        experiments: NamedDependency[ExperimentRuntime],
    ) -> Template:
        """The form, and the hits if the URL contains a query. Feedback in the URL is recorded."""
        form = read_page_form(request.query_params.multi_items())
        await record_link_feedback(request, experiments, runner.audit)
        return await _render(request, form, catalog, runner)


class ImagePageController(Controller):
    """Search by image."""

    path = "/search/image"
    include_in_schema = False
    opt = READ
    exception_handlers = {KeyRequired: redirect_to_login}  # noqa: RUF012
    response_headers = _NO_STORE

    @post(status_code=200)
    async def search(
        self,
        request: Request[Any, Any, Any],
        catalog: NamedDependency[Catalog],
        runner: NamedDependency[SearchRunner],
    ) -> Template:
        """The hits for an uploaded image. The image is not stored; to change a filter, the user uploads it again."""
        fields = await request.form()
        upload = fields.get("image")
        content = await upload.read() if isinstance(upload, UploadFile) else b""
        return await _render(request, read_page_form(fields.multi_items()), catalog, runner, content)


async def record_link_feedback(
    request: Request[Any, Any, Any], experiments: ExperimentRuntime, audit: AuditLog
) -> None:
    """Record the feedback in the URL of `request`, unless the URL is outdated or invented.

    Raises:
        AuditUnavailable: the audit log cannot be written.
    """
    feedback = parse_feedback(request.query_params)
    if feedback is None:
        return
    try:
        await save_feedback(request, feedback, experiments, audit)
    except (UnknownSearch, NotShown):
        return
    except ExperimentsUnavailable as error:
        _log.warning("feedback lost: %s", error)


async def _render(
    request: Request[Any, Any, Any],
    form: PageForm,
    catalog: Catalog,
    runner: SearchRunner,
    image: bytes | None = None,
) -> Template:
    headers: dict[str, str] = {}
    permits, audit, router = runner.permits, runner.audit, runner.router
    cookies = router.begin_visit() if image or form.has_query else []
    content, retriever, result = PageContent(), None, None
    try:
        upload = await _decode(image, form, runner) if image is not None else None
        retriever, result = await permits.run(_fill, content, form, catalog, router, upload)
    except Refusal as error:
        content, headers = PageContent(), error.headers
        content.fail(describe_error(error))
    if content.study and retriever:
        await run_sync(audit.write_study, request, retriever, content.study)
    if result:
        permits.add_timings(result)
        await run_sync(partial(audit.write_search, request, result, kind=kind_of(form.query(image)), k=form.k))
    content.session = request.auth.name if request.auth.by_cookie else None
    if content.problem:
        request.scope["state"]["code"] = content.problem.code  # for the log and the metrics
    return Template(
        "page.html",
        context={"page": content, "form": form},
        status_code=content.status,
        headers=headers,
        cookies=cookies,
    )


async def _decode(image: bytes, form: PageForm, runner: SearchRunner) -> _Upload:
    """The uploaded image, decoded. A problem with it does not keep the page from being shown.

    Raises:
        Refusal: the service is overloaded.
    """
    try:
        form.require_valid()
        if not image:
            raise InvalidRequest("choose an image first: a PNG, JPEG, WebP or DICOM file")
        (decoded,) = await runner.prepare(
            [form.query(image)], form.model, name="the uploaded file", preview_size=_PREVIEW_SIZE
        )
    except Refusal:
        raise
    except RetrievalError as error:
        return _Upload(image, problem=describe_error(error))
    return _Upload(image, decoded)


def _fill(
    content: PageContent, form: PageForm, catalog: Catalog, router: ModelRouter, upload: _Upload | None
) -> tuple[Retriever | None, ShownResult | None]:
    """Fill `content` as far as possible; the model of the form and the search result, for the audit log."""
    retriever = None
    try:
        content.models = [status.key for status in catalog.models() if status.is_searchable]
        retriever = catalog.retriever(form.model)
        content.model = retriever.model
        content.findings = retriever.facet("present")
        content.severities = sorted(retriever.facet("severities"))
        content.datasets = sorted(retriever.facet("dataset"))
        content.images = sum(retriever.facet("view").values())
        form.require_valid()
        if upload and upload.problem:
            content.fail(upload.problem)
            return retriever, None
        decoded = upload.decoded if upload else None
        if decoded and decoded.small:
            content.preview = _preview(decoded.small)
        if form.study:
            content.study = retriever.study(form.study, dataset=form.dataset)
        if not (upload or form.has_query):
            return retriever, None
        query = form.query(upload.content if upload else None)
        (result,) = router.search_batch(form.model, lambda model: model.search_batch([query], [decoded]))
    except RetrievalError as error:
        content.fail(describe_error(error))
        return retriever, None
    content.results = arrange_results(result)
    return retriever, result


def _preview(small: Image.Image) -> str:
    """The query image as a data URL: it is sent back and stored nowhere."""
    buffer = io.BytesIO()
    small.save(buffer, "WEBP", quality=80)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
