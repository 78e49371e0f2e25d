"""Two machines that share an index, embedded or on a server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from retrieval.index.interface import Index
from tests.ingest.identity.site import Site
from tests.retrieval.engines import new_index


@pytest.fixture(params=["edge", "server"])
def index(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Index]:
    opened = new_index(request.param, tmp_path / "index")
    yield opened
    opened.close()


@pytest.fixture
def site(tmp_path: Path, index: Index) -> Site:
    return Site(tmp_path / "home", index)


@pytest.fixture
def other(tmp_path: Path, index: Index) -> Site:
    """Another machine that shares the index."""
    return Site(tmp_path / "other-home", index)
