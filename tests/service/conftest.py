"""Clients of the service on a tiny home."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, get_args

import pytest
from litestar import Litestar
from litestar.testing import TestClient
from PIL import Image

from retrieval.catalog import Catalog
from retrieval.settings import RetrievalSettings
from service.access.keys import KeyFile, KeyScope
from service.app import create_app
from service.settings import ServiceSettings
from tests.conftest import copy_home

Client = TestClient[Litestar]


def connect(catalog: Catalog, settings: ServiceSettings | None = None, *, host: str = "127.0.0.1:8000") -> Client:
    """A client of the service on `catalog` that sends the Host header `host`; no rate limit unless `settings` set one."""
    return TestClient(create_app(settings or ServiceSettings(rate_per_minute=0), catalog), base_url=f"http://{host}")


def bearer(key: str) -> dict[str, str]:
    """Headers with a key."""
    return {"authorization": f"Bearer {key}"}


def assert_problem(answer: Any, status: int, code: str) -> dict[str, Any]:
    """The problem document of an answer, checked for its status and code."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert problem["code"] == code
    assert problem["status"] == status
    assert problem["type"] == f"urn:cxr:problem:{code}"
    assert problem["title"]
    assert problem["detail"]
    return problem


@pytest.fixture(scope="session")
def shared_home(tiny_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy of `tiny_template` for tests that only read it."""
    home = copy_home(tiny_template, tmp_path_factory.mktemp("service") / "home")
    yield home
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def shared_catalog(shared_home: Path) -> Iterator[Catalog]:
    """The catalog of `shared_home`; `tiny-a` is active and stays active."""
    with Catalog(RetrievalSettings(home=shared_home, device="cpu")) as catalog:
        yield catalog


@pytest.fixture(scope="session")
def client(shared_catalog: Catalog) -> Iterator[Client]:
    """A client for tests that change nothing."""
    with connect(shared_catalog) as client:
        yield client


@pytest.fixture(scope="session")
def keyed_home(tiny_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home with the keys of `keys`; tests may add more."""
    home = copy_home(tiny_template, tmp_path_factory.mktemp("keyed") / "home")
    yield home
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def keys(keyed_home: Path) -> dict[str, str]:
    """Secrets of the keys of `keyed_home`: one per scope, an expired one and a revoked one."""
    file = KeyFile(keyed_home)
    secrets = {scope: file.create(scope, (scope,))[1] for scope in get_args(KeyScope)}
    secrets["expired"] = file.create("expired", ("admin",), lifetime=timedelta(0))[1]
    secrets["revoked"] = file.create("revoked", ("admin",))[1]
    file.revoke("revoked")
    return secrets


@pytest.fixture(scope="session")
def keyed_catalog(keyed_home: Path, keys: dict[str, str]) -> Iterator[Catalog]:
    """The catalog of `keyed_home`, for tests that switch no model."""
    with Catalog(RetrievalSettings(home=keyed_home, device="cpu")) as catalog:
        yield catalog


@pytest.fixture
def keyed(keyed_catalog: Catalog) -> Iterator[Client]:
    """A client without a key of a service that requires keys."""
    with connect(keyed_catalog) as client:
        yield client


@pytest.fixture
def catalog(tiny_home: Path) -> Iterator[Catalog]:
    """A catalog that the test may change."""
    with Catalog(RetrievalSettings(home=tiny_home, device="cpu")) as catalog:
        yield catalog


@pytest.fixture
def own_client(catalog: Catalog) -> Iterator[Client]:
    """A client for tests that switch models."""
    with connect(catalog) as client:
        yield client


@pytest.fixture(scope="session")
def png() -> bytes:
    """An image file."""
    buffer = io.BytesIO()
    Image.radial_gradient("L").save(buffer, "PNG")
    return buffer.getvalue()
