from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ingest.ledger import Ledger, ledger_path
from ingest.worker import Worker
from retrieval.index.edge.index import EdgeIndex
from tests.conftest import write_tiny_bundle
from tests.ingest.worker_fixtures import NAME, CountingEncoder


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
