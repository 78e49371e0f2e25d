"""Servers, clients and homes for tests of a server in trouble."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import pytest
import stamina

from retrieval.index.server.index import ServerIndex
from retrieval.model.encoder import Encoder
from tests.conftest import write_tiny_bundle
from tests.qdrant.servers import running_node
from tests.recovery.kill_driver import start_driver
from tests.recovery.qdrant_stand_in import QdrantStandIn
from tests.recovery.server_site import Site

PATIENCE_S = 30.0


class Server(Protocol):
    """A server of either kind."""

    url: str


@pytest.fixture
def server() -> Iterator[QdrantStandIn]:
    with QdrantStandIn() as started:
        yield started


@pytest.fixture
def without_delays() -> Iterator[None]:
    """Retries without delays between them."""
    with stamina.set_testing(True, attempts=40):
        yield


@pytest.fixture
def connect() -> Iterator[Callable[..., ServerIndex]]:
    opened: list[ServerIndex] = []

    def connect(server: Server, *, patience_s: float = PATIENCE_S, key: str | None = None) -> ServerIndex:
        opened.append(ServerIndex.connect(server.url, api_key=key, timeout_s=1, patience_s=patience_s))
        return opened[-1]

    yield connect
    for index in opened:
        index.close()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    write_tiny_bundle(tmp_path / "home" / "models", "tiny", seed=0)
    return tmp_path / "home"


@pytest.fixture
def encoder(home: Path) -> Encoder:
    return Encoder(write_tiny_bundle(home / "models", "tiny", seed=0), device="cpu", threads=1)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A real server that tests may kill, and a home."""
    folder = tmp_path_factory.mktemp("site")
    with running_node(folder / "qdrant") as node, start_driver(folder / "log", slow_ms=0) as driver:
        yield Site(folder, node, driver)
