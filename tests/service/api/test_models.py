"""Switching models, readiness, body limits, and accepted hosts."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import msgspec
import pytest
from litestar import get
from litestar.testing import TestClient

from retrieval.catalog import Catalog
from retrieval.model.bundle import MANIFEST
from retrieval.settings import RetrievalSettings
from service.access.scopes import OPEN
from service.app import create_app
from service.settings import ServiceSettings
from tests.service.conftest import Client, assert_problem, connect


def searched_with(client: Client) -> str:
    model: str = client.post("/v1/search/text", json={"text": "heart"}).json()["model"]
    return model


def test_models_names_the_active_one(client: Client) -> None:
    models = {model["key"]: model for model in client.get("/v1/models").json()["models"]}
    assert models["tiny-a"]["active"]
    assert not models["tiny-b"]["active"]
    assert models["tiny-b"]["collection"] == "cxr_tiny-b"
    assert (models["tiny-b"]["images"], models["tiny-b"]["complete"]) == (24, True)


def test_activating_a_model_changes_the_default_of_requests(own_client: Client) -> None:
    assert searched_with(own_client) == "tiny-a"
    answer = own_client.put("/v1/models/active", json={"model": "tiny-b"})
    assert answer.status_code == 200
    assert answer.json()["active"]
    assert searched_with(own_client) == "tiny-b"
    assert own_client.get("/health/ready").json()["model"] == "tiny-b"


def test_a_model_with_fewer_cases_is_activated_only_with_force(catalog: Catalog, own_client: Client) -> None:
    collection = catalog.index.open("cxr_tiny-b")
    collection.record(msgspec.structs.replace(collection.meta, counts={"indiana": 7}))
    refused = assert_problem(own_client.put("/v1/models/active", json={"model": "tiny-b"}), 409, "counts_differ")
    assert "7 of 24 images of indiana" in refused["detail"]
    assert '"force": true' in refused["detail"]
    assert_problem(
        own_client.put("/v1/models/active", json={"model": "tiny-b", "force": "perhaps"}), 400, "invalid_request"
    )
    assert_problem(own_client.put("/v1/models/active", json={"model": "tiny-b", "force": False}), 409, "counts_differ")
    assert searched_with(own_client) == "tiny-a"
    forced = own_client.put("/v1/models/active", json={"model": "tiny-b", "force": True})
    assert forced.status_code == 200
    assert (forced.json()["images"], forced.json()["complete"]) == (7, True)
    assert searched_with(own_client) == "tiny-b"


def test_an_alias_moved_by_another_process_is_seen_without_a_restart(own_client: Client, tiny_home: Path) -> None:
    assert searched_with(own_client) == "tiny-a"
    with Catalog(RetrievalSettings(home=tiny_home, device="cpu")) as other:
        other.activate("tiny-b")
    assert searched_with(own_client) == "tiny-b"


def test_activating_needs_a_known_model_with_a_collection(own_client: Client) -> None:
    assert_problem(own_client.put("/v1/models/active", json={"model": "no"}), 404, "unknown_model")
    assert_problem(own_client.put("/v1/models/active", json={"model": ""}), 400, "invalid_request")
    assert_problem(own_client.put("/v1/models/active", json={}), 400, "invalid_request")
    assert searched_with(own_client) == "tiny-a"


def test_ready_names_the_model_and_collection_of_searches(client: Client) -> None:
    assert client.get("/health/live").json() == {"status": "alive"}
    ready = client.get("/health/ready").json()
    assert (ready["status"], ready["model"], ready["collection"]) == ("ready", "tiny-a", "cxr_tiny-a")


def test_not_ready_without_an_active_model_but_alive(tmp_path: Path) -> None:
    catalog = Catalog(RetrievalSettings(home=tmp_path / "empty", device="cpu"))
    with catalog, connect(catalog) as client:
        problem = assert_problem(client.get("/health/ready"), 503, "not_ready")
        assert problem["reasons"][0].startswith("no_collection")
        assert client.get("/health/live").status_code == 200
        assert_problem(client.post("/v1/search/text", json={"text": "heart"}), 409, "no_collection")
        page = client.get("/")
        assert page.status_code == 409
        assert "No collection" in page.text


def test_not_ready_when_the_collection_was_built_with_another_bundle(tiny_home: Path) -> None:
    bundle = tiny_home / "models" / "tiny-a"
    shutil.rmtree(bundle)
    shutil.copytree(tiny_home / "models" / "tiny-b", bundle)
    manifest = msgspec.json.decode((bundle / MANIFEST).read_bytes())
    (bundle / MANIFEST).write_bytes(msgspec.json.encode(manifest | {"name": "tiny-a"}))
    catalog = Catalog(RetrievalSettings(home=tiny_home, device="cpu"))
    with catalog, connect(catalog) as client:
        problem = assert_problem(client.get("/health/ready"), 503, "not_ready")
        assert problem["reasons"][0].startswith("bundle_mismatch")
        assert_problem(client.post("/v1/search/text", json={"text": "heart"}), 409, "bundle_mismatch")
        assert client.post("/v1/search/text", json={"text": "heart", "model": "tiny-b"}).status_code == 200


def test_bodies_over_the_limit_are_refused(shared_catalog: Catalog, png: bytes) -> None:
    settings = ServiceSettings(json_limit_bytes=200, upload_limit_bytes=1)
    with connect(shared_catalog, settings) as client:
        assert_problem(client.post("/v1/search/text", json={"text": "x" * 300}), 413, "request_too_large")
        oversized = {"image": ("a.png", b"\0" * 400_000)}
        assert_problem(client.post("/v1/search/image", files=oversized), 413, "request_too_large")
        assert client.post("/v1/search/image", files={"image": ("a.png", png)}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:8000", ""])
def test_requests_for_another_host_are_refused(client: Client, host: str) -> None:
    assert_problem(client.get("/v1/models", headers={"host": host}), 400, "invalid_request")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "[::1]:8000", "127.0.0.1:1"])
def test_loopback_names_are_accepted(client: Client, host: str) -> None:
    assert client.get("/health/live", headers={"host": host}).status_code == 200


def test_allowed_hosts_are_accepted(shared_catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXR_SERVICE_ALLOWED_HOSTS", "api, pacs.example")
    with connect(shared_catalog, host="pacs.example") as client:
        assert client.get("/health/live").status_code == 200
        assert client.get("/health/live", headers={"host": "localhost"}).status_code == 400


def test_unexpected_errors_reveal_nothing(shared_catalog: Catalog) -> None:
    @get("/broken", sync_to_thread=False, opt=OPEN)
    def broken() -> None:
        raise RuntimeError("patient Jane Doe")

    app = create_app(ServiceSettings(), shared_catalog)
    app.register(broken)
    with TestClient(app, base_url="http://127.0.0.1") as client:
        problem = assert_problem(client.get("/broken"), 500, "internal_error")
    assert "Jane" not in str(problem)


def test_concurrent_searches_get_their_own_answers(client: Client) -> None:
    found: dict[int, list[str]] = {}

    def search(number: int) -> None:
        query = {"text": ("heart", "effusion", "nodule")[number % 3], "k": 3}
        found[number] = [hit["image_id"] for hit in client.post("/v1/search/text", json=query).json()["hits"]]

    threads = [threading.Thread(target=search, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 12
    assert all(found[number] == found[number % 3] for number in range(12))
