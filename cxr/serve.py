"""`cxr serve`: the HTTP API and the web page."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from cxr.console import say
from cxr.options import DeviceOption, IndexOption
from cxr.settings import override_settings, read_settings
from retrieval.catalog import Catalog
from retrieval.errors import NoCollection
from service.access.keys import KeyFile
from service.access.listener import open_listener
from service.access.startup_check import require_keys
from service.app import create_app
from service.load.batching import BatchingEncoder
from service.server import DrainingServer
from service.settings import ServiceSettings
from service.telemetry.logs import configure_logs
from service.telemetry.operations import Operations


def serve(
    host: Annotated[str | None, typer.Option("--host", help="Address to listen on. [default: 127.0.0.1]")] = None,
    port: Annotated[
        int | None, typer.Option("--port", min=0, max=65535, help="Port; 0 takes a free one. [default: 8000]")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", help="Switch to this model first, under the same conditions as `cxr use`."),
    ] = None,
    index: IndexOption = None,
    device: DeviceOption = None,
) -> None:
    """Serve the HTTP API and the web page.

    On this machine alone the service needs no API key until `cxr keys create` has made one. With another address, another
    allowed host or HTTPS it starts only if there is a valid key.

    \b
    cxr serve
    cxr serve --port 8080 --device cuda
    cxr serve --index http://127.0.0.1:6333
    """
    engine_settings = read_settings(index, device)
    settings = override_settings(ServiceSettings, "service settings", host=host, port=port)
    has_key = require_keys(settings, KeyFile(engine_settings.home))
    listener = open_listener(settings.host, settings.port, has_key=has_key)
    try:
        configure_logs(settings.log_format)
        operations = Operations.from_settings(settings)
        make_encoder = partial(
            BatchingEncoder,
            limit=settings.batch_size,
            remember=settings.remembered_texts,
            observe=operations.metrics.observe_batch,
        )
        with Catalog(engine_settings, make_encoder=make_encoder) as catalog:
            if model is not None:
                catalog.activate(model)
            _warm_up(catalog)
            shown_host = f"[{settings.host}]" if ":" in settings.host else settings.host
            say(f"serving on http://{shown_host}:{listener.getsockname()[1]} (stop with Ctrl+C)")
            app = create_app(settings, catalog, operations)
            DrainingServer(app, settings, operations.drain).run(sockets=[listener])
        if operations.tracing:
            operations.tracing.close()
    finally:
        listener.close()


def _warm_up(catalog: Catalog) -> None:
    """Load the active model and run it once, so that the first request is not slow.

    Without an active model, as when containers start for the first time, the service starts anyway; /health/ready shows it.
    """
    try:
        retriever = catalog.retriever()
    except NoCollection as error:
        say(f"searches cannot be answered yet: {error}")
        return
    retriever.warm_up()
    say(f"active model {retriever.model}, collection {retriever.collection.name}")
