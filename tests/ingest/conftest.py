from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from retrieval.index.edge.index import EdgeIndex
from tests.conftest import write_tiny_bundle
from tests.ingest.worker_fixtures import CountingEncoder


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
    """Fails a test that leaves threads behind which were not there before."""
    before = set(threading.enumerate())
    yield
    assert [thread.name for thread in threading.enumerate() if thread not in before and thread.is_alive()] == []
