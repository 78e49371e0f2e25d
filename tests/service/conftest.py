"""The service on a tiny home, as a client sees it."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import get_args

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
    """A client of the service on `catalog`, which names it `host`; without a rate limit, unless `settings` set one."""
    return TestClient(create_app(settings or ServiceSettings(rate_per_minute=0), catalog), base_url=f"http://{host}")


def bearer(key: str) -> dict[str, str]:
    """Headers that carry a key."""
    return {"authorization": f"Bearer {key}"}


@pytest.fixture(scope="session")
def shared_home(tiny_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy of `tiny_template` for all tests that only read it."""
    home = copy_home(tiny_template, tmp_path_factory.mktemp("service") / "home")
    yield home
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def shared_catalog(shared_home: Path) -> Iterator[Catalog]:
    """The catalog of `shared_home`; `tiny-a` is active and stays so."""
    with Catalog(RetrievalSettings(home=shared_home, device="cpu")) as catalog:
        yield catalog


@pytest.fixture(scope="session")
def client(shared_catalog: Catalog) -> Iterator[Client]:
    """For tests that change nothing."""
    with connect(shared_catalog) as client:
        yield client


@pytest.fixture(scope="session")
def keyed_home(tiny_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home with the keys of `keys`; tests may add further ones."""
    home = copy_home(tiny_template, tmp_path_factory.mktemp("keyed") / "home")
    yield home
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def keys(keyed_home: Path) -> dict[str, str]:
    """Secrets of keys of `keyed_home`: one for each scope, one that is expired, one that is revoked."""
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
    """A client of a service that needs keys; it has none yet."""
    with connect(keyed_catalog) as client:
        yield client


@pytest.fixture
def catalog(tiny_home: Path) -> Iterator[Catalog]:
    """A catalog that the test may change."""
    with Catalog(RetrievalSettings(home=tiny_home, device="cpu")) as catalog:
        yield catalog


@pytest.fixture
def own_client(catalog: Catalog) -> Iterator[Client]:
    """For tests that switch models."""
    with connect(catalog) as client:
        yield client


@pytest.fixture(scope="session")
def png() -> bytes:
    """An image file."""
    buffer = io.BytesIO()
    Image.radial_gradient("L").save(buffer, "PNG")
    return buffer.getvalue()
