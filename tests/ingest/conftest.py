from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ingest.ledger import Ledger, ledger_path
from ingest.snapshot import create_snapshot
from ingest.worker import Worker
from retrieval.index.edge.index import EdgeIndex
from retrieval.index.interface import Index
from tests.conftest import write_tiny_bundle
from tests.forked_decoders import forked_decoders
from tests.ingest.worker_fixtures import NAME, CountingEncoder
from tests.retrieval.engines import load, new_index, points_of_reports


@pytest.fixture(scope="package", autouse=True)
def _forked_decoders() -> Iterator[None]:
    with forked_decoders():
        yield


@pytest.fixture
def encoder(tmp_path: Path) -> CountingEncoder:
    return CountingEncoder(write_tiny_bundle(tmp_path / "models", "tiny", seed=0))


@pytest.fixture
def index(tmp_path: Path) -> Iterator[EdgeIndex]:
    opened = EdgeIndex(tmp_path / "index")
    yield opened
    opened.close()


@pytest.fixture
def no_thread_left() -> Iterator[None]:
    """Fails a test that leaves new threads behind."""
    before = set(threading.enumerate())
    yield
    assert [thread.name for thread in threading.enumerate() if thread not in before and thread.is_alive()] == []


@pytest.fixture
def start(encoder: CountingEncoder, index: EdgeIndex, tmp_path: Path) -> Callable[..., Worker]:
    """Makes a worker with ledger and thumbnails in `tmp_path`."""

    def start(**options: Any) -> Worker:
        return Worker(encoder, index, **{"home": tmp_path, "media_dir": tmp_path / "media", "batch_size": 4} | options)

    return start


@pytest.fixture
def open_ledger(index: EdgeIndex, tmp_path: Path) -> Callable[[], Ledger]:
    return lambda: Ledger(ledger_path(tmp_path, index.location, NAME))


@pytest.fixture(scope="session")
def snapshot_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A snapshot of an embedded collection; tests copy it before they change it."""
    folder = tmp_path_factory.mktemp("snapshot")
    index = new_index("edge", folder / "index")
    create_snapshot(load(index, points_of_reports()), folder / "whole.zip")
    index.close()
    return folder / "whole.zip"


@pytest.fixture(params=["edge", "server"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Index]:
    """An empty index of each engine."""
    index = new_index(request.param, tmp_path / "target")
    yield index
    index.close()
