"""The application: builds all parts of the service and connects them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from litestar import Litestar, Request, Router
from litestar.di import Provide
from litestar.plugins.jinja import JinjaTemplateEngine
from litestar.static_files import create_static_files_router
from litestar.template import TemplateConfig

from retrieval.catalog import Catalog
from retrieval.imaging.decoder_pool import decoders
from service.access.allowed_hosts import AllowedHosts
from service.access.audit import AuditLog
from service.access.auth import Authentication, Authenticator
from service.access.keys import KeyFile, KeyRing
from service.access.login_sessions import LoginSessions
from service.access.rate_limit import RateLimit
from service.access.scopes import UNCOUNTED, KeyRequired, ScopeDeclarationCheck, require_scope
from service.access.security_headers import SecurityHeaders
from service.access.startup_check import remote_reason
from service.api.facets import FacetsController
from service.api.feedback import FeedbackController
from service.api.forms import LIMIT_TEXT_BYTES
from service.api.health import HealthController
from service.api.images import ImagesController
from service.api.metrics import MetricsController
from service.api.models import ModelsController
from service.api.openapi import DISCLAIMER, ComponentNames, UniformTuples, openapi_config
from service.api.problems import EXCEPTION_HANDLERS
from service.api.requests import BodyRequest, only_files, read_form
from service.api.search import ImageSearchController, SearchController, TextSearchController
from service.api.search_runner import SearchRunner
from service.api.studies import StudiesController
from service.api.study_ids import StudyIdEscaping
from service.experiments.routing import ModelRouter
from service.experiments.runtime import ExperimentRuntime
from service.load.admission import Admission
from service.load.body_budget import BodyBudget
from service.load.body_deadline import BodyDeadline
from service.load.permits import Permits
from service.settings import ServiceSettings
from service.telemetry.operations import Operations
from service.telemetry.request_observer import RequestObserver
from service.web.login import LoginController, redirect_to_login
from service.web.page import ImagePageController, PageController

WEB_DIR = Path(__file__).parent / "web"
# A page loads up to a hundred thumbnails, each of which is fast; they must not queue behind searches.
_THUMBNAILS = {"limit": 2, "queue": 256}
# Images are decoded in separate processes, so that searches by words do not wait for them.
_DECODING = 4
# Health checks and metrics call the engine, too. They must not wait for searches, and not pile up if the engine hangs.
_PROBES = {"limit": 2, "queue": 8}
_PROBE_TIMEOUT_S = 5.0
# Calls that still run when the service stops belong to requests that have ended.
_ABANDONED_WAIT_S = 5.0


def create_app(settings: ServiceSettings, catalog: Catalog, operations: Operations | None = None) -> Litestar:
    """The service on `catalog`; the caller closes the catalog."""
    operations = operations or Operations.from_settings(settings)
    templates = template_environment()
    searches = Admission("searches", limit=settings.concurrent_searches, queue=settings.waiting_searches)
    decodes = Admission("decodes", limit=_DECODING, queue=settings.waiting_searches)
    thumbnails, probes = Admission("thumbnails", **_THUMBNAILS), Admission("probes", **_PROBES)
    admissions = (decodes, searches, thumbnails, probes)
    media_dir = catalog.settings.media_dir
    static_dir = WEB_DIR / "static"
    experiments = ExperimentRuntime(catalog.settings.home, exposure_days=settings.exposure_days)
    audit = _audit_log(settings, catalog.settings.home)
    # Without keys, only this machine is served, and only until the first key is created.
    key_file = KeyFile(catalog.settings.home)
    keys = KeyRing(key_file, always_required=remote_reason(settings) is not None or key_file.is_lost())
    authenticator = Authenticator(keys, LoginSessions(secure=settings.https), audit)
    rate_limit = RateLimit(settings.rate_per_minute)
    uploads = Router(
        "/",
        route_handlers=[ImageSearchController, ImagePageController],
        request_max_body_size=settings.upload_limit_bytes + LIMIT_TEXT_BYTES,
        # Before the body is read: a request that is refused need not upload 64 MiB first.
        before_request=_read_upload(decodes, searches),
    )

    async def close_admissions() -> None:
        for admission in admissions:
            await admission.close(min(_ABANDONED_WAIT_S, operations.drain.left_s / 2))

    app = Litestar(
        route_handlers=[
            TextSearchController,
            FacetsController,
            StudiesController,
            FeedbackController,
            ModelsController,
            ImagesController,
            HealthController,
            PageController,
            LoginController,
            *([MetricsController] if settings.metrics else []),
            uploads,
            Router(
                "/",
                route_handlers=[SearchController],
                # Images are base64, which takes four characters for three bytes.
                request_max_body_size=settings.upload_limit_bytes * 4 // 3 + settings.json_limit_bytes,
                before_request=_require_room(searches),
            ),
            create_static_files_router(
                "/static",
                [static_dir],
                include_in_schema=False,
                opt=UNCOUNTED,
                before_request=only_files(static_dir),
            ),
        ],
        dependencies={
            "catalog": Provide(lambda: catalog, sync_to_thread=False),
            "permits": _provide_permits(searches, settings.request_timeout_s),
            "thumbnail_permits": _provide_permits(thumbnails, settings.request_timeout_s),
            "probe_permits": _provide_permits(probes, _PROBE_TIMEOUT_S),
            "drain": Provide(lambda: operations.drain, sync_to_thread=False),
            "metrics": Provide(lambda: operations.metrics, sync_to_thread=False),
            "dashboard_origins": Provide(lambda: settings.dashboard_origins, sync_to_thread=False),
            "media_dir": Provide(lambda: media_dir, sync_to_thread=False),
            "audit": Provide(lambda: audit, sync_to_thread=False),
            "experiments": Provide(lambda: experiments, sync_to_thread=False),
            "runner": _provide_runner(searches, decodes, experiments, catalog, audit, settings),
            "rate_limit": Provide(lambda: rate_limit, sync_to_thread=False),
            "authenticator": Provide(lambda: authenticator, sync_to_thread=False),
        },
        middleware=[
            operations.drain,
            AllowedHosts(settings),
            Authentication(authenticator),
            rate_limit,
            BodyDeadline(settings.body_timeout_s),
            BodyBudget(free_bytes=settings.json_limit_bytes),
        ],
        guards=[require_scope],
        plugins=[ScopeDeclarationCheck(), ComponentNames(), UniformTuples()],
        exception_handlers=EXCEPTION_HANDLERS,
        request_max_body_size=settings.json_limit_bytes,
        request_class=BodyRequest,
        openapi_config=openapi_config(templates, login_handlers={KeyRequired: redirect_to_login}),
        template_config=TemplateConfig(instance=JinjaTemplateEngine.from_environment(templates)),
        # uvicorn has configured logging already.
        logging_config=None,
        after_response=experiments.shadows.start_deferred,
        on_startup=[_start_decoding],
        on_shutdown=[_end_decoding, close_admissions, experiments.close],
    )
    for admission in admissions:
        operations.metrics.watch(admission)
    # Litestar's own middleware runs after routing and does not see requests without a matching route.
    app.asgi_handler = RequestObserver(
        SecurityHeaders(StudyIdEscaping(app.asgi_handler)), operations.metrics, operations.tracing
    )
    return app


async def _start_decoding() -> None:
    """Start the decoder processes, so that the first image does not wait for one."""
    decoders.start()


async def _end_decoding() -> None:
    """End the decoder processes; images that they still decode belong to requests that have ended."""
    decoders.close()


def _require_room(searches: Admission) -> Callable[[Request[Any, Any, Any]], Awaitable[None]]:
    async def require_room(_: Request[Any, Any, Any]) -> None:
        searches.require_room()

    return require_room


def _read_upload(*stages: Admission) -> Callable[[Request[Any, Any, Any]], Awaitable[None]]:
    async def read_upload(request: Request[Any, Any, Any]) -> None:
        for admission in stages:
            admission.require_room()
        await read_form(request)

    return read_upload


def _provide_permits(admission: Admission, timeout_s: float) -> Provide:
    def permits(request: Request[Any, Any, Any]) -> Permits:
        return Permits.of(request, admission, timeout_s)

    return Provide(permits, sync_to_thread=False)


def _provide_runner(
    admission: Admission,
    decodes: Admission,
    experiments: ExperimentRuntime,
    catalog: Catalog,
    audit: AuditLog,
    settings: ServiceSettings,
) -> Provide:
    def runner(request: Request[Any, Any, Any]) -> SearchRunner:
        router = ModelRouter.for_request(request, experiments, catalog, secure=settings.https)
        permits, decode_permits = (
            Permits.of(request, each, settings.request_timeout_s) for each in (admission, decodes)
        )
        return SearchRunner(request, router, permits, decode_permits, audit)

    return Provide(runner, sync_to_thread=False)


def _audit_log(settings: ServiceSettings, home: Path) -> AuditLog:
    return AuditLog((settings.audit_dir or home / "audit") if settings.audit else None)


def template_environment() -> Environment:
    """Jinja that escapes all values and raises on undefined names."""
    environment = Environment(
        loader=FileSystemLoader(WEB_DIR / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["disclaimer"] = DISCLAIMER
    return environment
