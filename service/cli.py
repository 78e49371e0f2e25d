"""`cxr serve`."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from retrieval.catalog import Catalog

_log = logging.getLogger("cxr.service")


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on. [default: 127.0.0.1]")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port; 0 takes any. [default: 8000]")] = None,
    model: Annotated[str | None, typer.Option(help="Make this model the active one first, as `cxr use` does.")] = None,
    index: Annotated[str | None, typer.Option(help="URL of a Qdrant server, or a folder. [env: CXR_INDEX]")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda. [env: CXR_DEVICE]")] = None,
    home: Annotated[Path | None, typer.Option(help="Folder of models and index. [env: CXR_HOME]")] = None,
    allow_remote: Annotated[
        bool | None,
        typer.Option(
            "--allow-remote/--loopback-only",
            help="Accept an address that other machines can reach. There is no login: only behind a closed network.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Serve the HTTP API and the web page, until interrupted.

    \b
    Examples:
      cxr serve
      cxr serve --port 8080 --device cuda
      cxr serve --index http://127.0.0.1:6333
    """
    from retrieval.catalog import Catalog
    from retrieval.settings import RetrievalSettings
    from service.binding import open_listener
    from service.settings import ServiceSettings

    settings = ServiceSettings(**_given(host=host, port=port, allow_remote=allow_remote))
    engine_settings = RetrievalSettings(**_given(index=index, device=device, home=home))
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    for chatty in ("httpx", "httpcore"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    listener = open_listener(settings.host, settings.port, allow_remote=settings.allow_remote)
    catalog = None
    try:
        catalog = Catalog(engine_settings)
        if model is not None:
            catalog.activate(model)
        _warm_up(catalog)

        import uvicorn

        from service.app import create_app

        config = uvicorn.Config(
            create_app(settings, catalog),
            # Addresses hold queries, so they are not logged.
            access_log=False,
            log_config=None,
            server_header=False,
            proxy_headers=False,
            ws="none",
            lifespan="on",
            timeout_graceful_shutdown=10,
        )
        shown = f"[{settings.host}]" if ":" in settings.host else settings.host
        typer.echo(f"serving on http://{shown}:{listener.getsockname()[1]} (stop with Ctrl+C)", err=True)
        uvicorn.Server(config).run(sockets=[listener])
    finally:
        listener.close()
        if catalog is not None:
            catalog.close()


def _given(**options: Any) -> dict[str, Any]:
    """The options that were given; the settings' environment variables and defaults stand for the others."""
    return {name: value for name, value in options.items() if value is not None}


def _warm_up(catalog: Catalog) -> None:
    """Load the active model, so that the first request is not the slow one.

    With none the service starts all the same and says so at /health/ready: the containers' first start is like that.
    """
    from retrieval.errors import NoCollection

    try:
        retriever = catalog.retriever()
    except NoCollection as error:
        _log.warning("no search can be answered yet: %s", error)
        return
    retriever.warm_up()
    _log.info("active model %s, collection %s", retriever.model, retriever.collection.name)
