"""The OpenAPI document of a service without models."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from retrieval.catalog import Catalog
from retrieval.settings import RetrievalSettings
from service.app import create_app
from service.settings import ServiceSettings


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient[Litestar]]:
    catalog = Catalog(RetrievalSettings(home=tmp_path, device="cpu"))
    with catalog, TestClient(create_app(ServiceSettings(), catalog), base_url="http://127.0.0.1") as client:
        yield client


@pytest.fixture
def openapi(client: TestClient[Litestar]) -> dict[str, Any]:
    document: dict[str, Any] = client.get("/schema/openapi.json").json()
    return document
