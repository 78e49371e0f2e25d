"""The application: only wiring."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from litestar import Litestar, Router
from litestar.datastructures import ResponseHeader
from litestar.di import Provide
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin, YamlRenderPlugin
from litestar.openapi.spec import License, Tag
from litestar.plugins.jinja import JinjaTemplateEngine
from litestar.static_files import create_static_files_router
from litestar.template import TemplateConfig

from retrieval.catalog import Catalog
from service.controllers.health import HealthController
from service.controllers.images import ImagesController
from service.controllers.models import ModelsController
from service.controllers.page import ImagePageController, PageController
from service.controllers.search import ImageSearchController, TextSearchController
from service.controllers.studies import StudiesController
from service.hosts import KnownHosts
from service.permits import SearchPermits
from service.problems import EXCEPTION_HANDLERS
from service.reference import ReferencePlugin
from service.settings import ServiceSettings

WEB_DIR = Path(__file__).parent / "web"
DISCLAIMER = "For research use only. Not a medical device; not for diagnosis or treatment."
DESCRIPTION = (
    "Finds similar chest X-ray cases by words, by image, or by a stored study; filtered by finding, with any of "
    f"several embedding models. Errors are problem documents (RFC 9457) with a stable `code`.\n\n**{DISCLAIMER}**"
)
# Forms carry some fields beside the file.
_FORM_OVERHEAD_BYTES = 256 * 1024
_SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; img-src 'self' data:; style-src 'self'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    # Addresses of pages hold the query.
    "Referrer-Policy": "no-referrer",
}


def create_app(settings: ServiceSettings, catalog: Catalog) -> Litestar:
    """The service on `catalog`, which stays its owner's to close."""
    permits = SearchPermits(settings.concurrent_searches)
    media_dir = catalog.settings.media_dir
    uploads = Router(
        "/",
        route_handlers=[ImageSearchController, ImagePageController],
        request_max_body_size=settings.upload_limit_bytes + _FORM_OVERHEAD_BYTES,
    )
    return Litestar(
        route_handlers=[
            TextSearchController,
            StudiesController,
            ModelsController,
            ImagesController,
            HealthController,
            PageController,
            uploads,
            create_static_files_router("/static", [WEB_DIR / "static"], include_in_schema=False),
        ],
        dependencies={
            "catalog": Provide(lambda: catalog, sync_to_thread=False),
            "permits": Provide(lambda: permits, sync_to_thread=False),
            "media_dir": Provide(lambda: media_dir, sync_to_thread=False),
        },
        middleware=[KnownHosts(settings)],
        exception_handlers=EXCEPTION_HANDLERS,
        request_max_body_size=settings.json_limit_bytes,
        response_headers=[ResponseHeader(name=name, value=value) for name, value in _SECURITY_HEADERS.items()],
        openapi_config=_openapi(),
        template_config=TemplateConfig(instance=JinjaTemplateEngine.from_environment(template_environment())),
        # uvicorn has set up logging already; Litestar's own would do it again.
        logging_config=None,
    )


def template_environment() -> Environment:
    """Jinja with escaping on everywhere, and with names that are not there as errors."""
    environment = Environment(
        loader=FileSystemLoader(WEB_DIR / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["disclaimer"] = DISCLAIMER
    return environment


def _openapi() -> OpenAPIConfig:
    return OpenAPIConfig(
        title="Chest X-ray retrieval",
        version=_version(),
        description=DESCRIPTION,
        license=License(name="Apache-2.0", identifier="Apache-2.0"),
        use_handler_docstrings=True,
        tags=[
            Tag(name="search", description="Cases by words or by image."),
            Tag(name="studies", description="Stored studies and the cases like them."),
            Tag(name="models", description="Which models there are, and which one is active."),
            Tag(name="images", description="Thumbnails."),
            Tag(name="health", description="For whatever watches the service."),
        ],
        path="/schema",
        render_plugins=[
            ReferencePlugin(template_environment()),
            JsonRenderPlugin(),
            YamlRenderPlugin(path=["/openapi.yaml", "/openapi.yml"]),
        ],
    )


def _version() -> str:
    try:
        return version("cxr-retrieval")
    except PackageNotFoundError:  # run from a checkout that was not installed
        return "0+checkout"
