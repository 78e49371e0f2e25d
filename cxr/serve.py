"""The command `cxr serve`, and `cxr keys`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cxr.console import DeviceOption, IndexOption, read_settings, say

if TYPE_CHECKING:
    from retrieval.catalog import Catalog
    from service.settings import ServiceSettings


def serve(
    host: Annotated[str | None, typer.Option("--host", help="Address to listen on. [default: 127.0.0.1]")] = None,
    port: Annotated[
        int | None, typer.Option("--port", min=0, max=65535, help="Port; 0 takes a free one. [default: 8000]")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", help="Make this model the active one first, under the same conditions as `cxr use`."),
    ] = None,
    index: IndexOption = None,
    device: DeviceOption = None,
) -> None:
    """Serve the HTTP API and the web page, until interrupted.

    On this machine alone it needs no key, until `cxr keys create` has made one. With another address, another allowed
    host or HTTPS set it starts only once there is a valid key.

    \b
    cxr serve
    cxr serve --port 8080 --device cuda
    cxr serve --index http://127.0.0.1:6333
    """
    engine_settings = read_settings(index, device)
    settings = _read_service_settings(host=host, port=port)

    from retrieval.catalog import Catalog
    from service.access.keys import KeyFile
    from service.access.listener import open_listener
    from service.access.startup_check import require_keys
    from service.load.batching import BatchingEncoder
    from service.telemetry.logs import configure_logs
    from service.telemetry.operations import Operations

    has_key = require_keys(settings, KeyFile(engine_settings.home))
    listener = open_listener(settings.host, settings.port, has_key=has_key)
    try:
        configure_logs(settings.log_format)
        operations = Operations.of(settings)
        make_encoder = partial(
            BatchingEncoder,
            limit=settings.batch_size,
            remember=settings.remembered_texts,
            observe=operations.metrics.observe_batch,
        )
        with Catalog(engine_settings, make_encoder=make_encoder) as catalog:
            if model is not None:
                catalog.activate(model)
            warm_up(catalog)
            shown = f"[{settings.host}]" if ":" in settings.host else settings.host
            say(f"serving on http://{shown}:{listener.getsockname()[1]} (stop with Ctrl+C)")

            from service.app import create_app
            from service.server import DrainingServer

            app = create_app(settings, catalog, operations)
            DrainingServer(app, settings, operations.drain).run(sockets=[listener])
        if operations.tracing:
            operations.tracing.close()
    finally:
        listener.close()


def warm_up(catalog: Catalog) -> None:
    """Load the active model and run it once, so that the first request is not the slow one.

    With none active the service starts all the same and says so at /health/ready: the containers' first start is so.
    """
    from retrieval.errors import NoCollection

    try:
        retriever = catalog.retriever()
    except NoCollection as error:
        say(f"no search can be answered yet: {error}")
        return
    retriever.warm_up()
    say(f"active model {retriever.model}, collection {retriever.collection.name}")


def _read_service_settings(**options: Any) -> ServiceSettings:
    """Settings from the environment, overridden by what the command line gave.

    Raises:
        InvalidRequest: a value is outside its range; the message names it.
    """
    from pydantic import ValidationError

    from retrieval.errors import InvalidRequest
    from service.settings import ServiceSettings

    try:
        return ServiceSettings(**{name: value for name, value in options.items() if value is not None})
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        raise InvalidRequest(f"service settings: {wrong}") from error
