"""The service on a tiny home, as a client sees it."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from litestar import Litestar
from litestar.testing import TestClient
from PIL import Image

from retrieval.catalog import Catalog
from retrieval.settings import RetrievalSettings
from service.app import create_app
from service.settings import ServiceSettings

Client = TestClient[Litestar]


@pytest.fixture
def catalog(tiny_home: Path) -> Iterator[Catalog]:
    with Catalog(RetrievalSettings(home=tiny_home, device="cpu")) as catalog:
        yield catalog


@pytest.fixture
def client(catalog: Catalog) -> Iterator[Client]:
    with TestClient(create_app(ServiceSettings(), catalog), base_url="http://127.0.0.1:8000") as client:
        yield client


@pytest.fixture
def png() -> bytes:
    buffer = io.BytesIO()
    Image.radial_gradient("L").save(buffer, "PNG")
    return buffer.getvalue()
