"""The service over real sockets, with a model that can be paused."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from retrieval.catalog import Catalog
from service.access.listener import open_listener
from service.app import create_app
from service.server import DrainingServer
from service.settings import ServiceSettings
from service.telemetry.operations import Operations


@dataclass
class Live:
    """A listening service and a client of it."""

    port: int
    client: httpx.Client
    operations: Operations
    server: DrainingServer
    ended: threading.Event

    def post(self, text: str = "heart", **more: Any) -> httpx.Response:
        return self.client.post("/v1/search/text", json={"text": text, "k": 1}, **more)


@contextmanager
def serving(catalog: Catalog, operations: Operations | None = None, **options: Any) -> Iterator[Live]:
    """Serve `catalog` on a free loopback port, in a thread, until the block ends."""
    settings = ServiceSettings(port=0, rate_per_minute=0, **options)
    operations = operations or Operations.from_settings(settings)
    listener = open_listener("127.0.0.1", 0, has_key=False)
    port = listener.getsockname()[1]
    server = DrainingServer(create_app(settings, catalog, operations), settings, operations.drain)
    ended = threading.Event()

    def run() -> None:
        asyncio.run(server.serve(sockets=[listener]))
        ended.set()

    thread = threading.Thread(target=run)
    thread.start()
    limits = httpx.Limits(max_connections=200, max_keepalive_connections=0)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, limits=limits) as client:
            until(lambda: server.started)
            yield Live(port, client, operations, server, ended)
    finally:
        operations.drain.begin()
        thread.join(timeout=30)
        listener.close()
    assert ended.is_set()


def until(condition: Callable[[], bool], limit_s: float = 10.0) -> None:
    """Wait until `condition` holds."""
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "the condition did not become true in time"
        time.sleep(0.005)


class GatedModel:
    """Holds texts before the model of `catalog` until `gate` opens; `texts` are those that arrived."""

    def __init__(self, catalog: Catalog, *, delay_s: float = 0.0) -> None:
        self.gate = threading.Event()
        self.texts: list[str] = []
        self._encoder = catalog.retriever().encoder
        self._encode = self._encoder.encode_texts
        self._delay_s = delay_s

    def _encode_when_open(self, texts: Any) -> Any:
        texts = list(texts)
        self.texts += texts
        assert self.gate.wait(20)
        time.sleep(self._delay_s)
        return self._encode(texts)

    def __enter__(self) -> GatedModel:
        self._encoder.encode_texts = self._encode_when_open  # type: ignore[method-assign]
        return self

    def __exit__(self, *_: object) -> None:
        self.gate.set()
        del self._encoder.encode_texts  # type: ignore[misc]


class ConcurrentRequests:
    """Sends requests in threads of their own and collects the answers."""

    def __init__(self) -> None:
        self.answers: list[httpx.Response] = []
        self._threads: list[threading.Thread] = []

    def ask(self, request: Callable[[], httpx.Response]) -> None:
        thread = threading.Thread(target=lambda: self.answers.append(request()))
        thread.start()
        self._threads.append(thread)

    def wait(self) -> list[httpx.Response]:
        for thread in self._threads:
            thread.join(timeout=30)
        assert not any(thread.is_alive() for thread in self._threads)
        return self.answers
