"""Every problem document, as a client gets it: one snapshot per code, made by a real request.

After a change of a text: `pytest tests/service/api/test_problems.py --snapshot-update`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np
import pytest
from litestar import get
from litestar.testing import TestClient
from syrupy.assertion import SnapshotAssertion

from benchmarks.image_forms import png16
from retrieval.catalog import Catalog
from retrieval.settings import RetrievalSettings
from service.access.scopes import OPEN
from service.app import create_app
from service.experiments.store import FILE_NAME
from service.settings import ServiceSettings
from tests.dicom_files import make_dicom
from tests.service.api.test_bombs import bomb_png, text_bomb
from tests.service.conftest import Client, bearer, connect
from tests.service.live import ConcurrentRequests, GatedModel, serving, until

TEXT = "/v1/search/text"
HEART = {"text": "heart", "k": 1}
PIXELS = np.arange(4096, dtype=np.uint16).reshape(64, 64)
NOT_PRODUCED = {
    "index_unreachable": "see tests/recovery/test_stalled_server.py",
    "index_forbidden": "see tests/recovery/test_stalled_server.py",
    "image_too_complex": "see tests/retrieval/imaging/test_decoders.py",
    "image_too_large": "needs an upload of 64 MiB",
    "decode_timeout": "see test_hostile_images.py",
    "decoder_crashed": "see test_hostile_images.py",
}
"""Codes of the OpenAPI document without a snapshot, and why."""

Ask = Callable[[Client], httpx.Response]


def upload(content: bytes) -> Ask:
    return lambda client: client.post("/v1/search/image", files={"image": ("a", content)})


def feedback(search_id: str) -> dict[str, str]:
    return {"search_id": search_id, "study_id": "1", "image_id": "nowhere.png", "kind": "click"}


def feedback_on_another_image(client: Client) -> httpx.Response:
    found = client.post(TEXT, json=HEART).json()
    return client.post("/v1/feedback", json=feedback(found["search_id"]))


REQUESTS: dict[str, Ask] = {
    "invalid_request": lambda client: client.post(TEXT, json={"text": "", "k": 0}),
    "not_found": lambda client: client.get("/v1/nothing"),
    "method_not_allowed": lambda client: client.delete("/v1/models"),
    "request_too_large": lambda client: client.post(TEXT, json={"text": "x" * 300_000}),
    "unknown_finding": lambda client: client.post(TEXT, json=HEART | {"filters": {"all": ["Cardiomegali"]}}),
    "unknown_model": lambda client: client.post(TEXT, json=HEART | {"model": "no"}),
    "unknown_study": lambda client: client.get("/v1/studies/nobody"),
    "unknown_search": lambda client: client.post("/v1/feedback", json=feedback("5f1c")),
    "not_shown": feedback_on_another_image,
    "empty_file": upload(b""),
    "wrong_type": upload(b"plain text"),
    "truncated_image": lambda client: upload(png16(PIXELS)[:60])(client),
    "unreadable_image": lambda client: upload(text_bomb())(client),
    "no_contrast": upload(png16(np.full((9, 9), 7))),
    "image_bomb": lambda client: upload(bomb_png(60_000, 60_000))(client),
    "multi_frame": upload(make_dicom(PIXELS, NumberOfFrames=2)),
    "no_pixels": upload(make_dicom(None)),
    "bad_pixel_description": upload(make_dicom(PIXELS, Rows=None)),
}
KEYED_REQUESTS: dict[str, Callable[[Client, dict[str, str]], httpx.Response]] = {
    "key_required": lambda client, keys: client.get("/v1/models"),
    "invalid_key": lambda client, keys: client.get("/v1/models", headers=bearer(keys["revoked"])),
    "scope_missing": lambda client, keys: client.put(
        "/v1/models/active", json={"model": "tiny-b"}, headers=bearer(keys["read"])
    ),
    "cross_site": lambda client, keys: client.post(
        TEXT, json=HEART, headers=bearer(keys["read"]) | {"sec-fetch-site": "cross-site"}
    ),
}


def document_of(answer: httpx.Response, code: str) -> dict[str, Any]:
    """The problem document and its own headers, with paths and figures that vary replaced."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    text = re.sub(r"/\S*?/home\b", "<home>", answer.text)
    text = re.sub(r"\b[0-9a-f]{32}\b", "<id>", text)
    document: dict[str, Any] = msgspec.json.decode(text)
    assert document["code"] == code
    names = ("allow", "connection", "retry-after", "www-authenticate")
    headers = {name: ", ".join(sorted(answer.headers[name].split(", "))) for name in names if name in answer.headers}
    return document | {"headers": headers}


@pytest.mark.parametrize("code", REQUESTS)
def test_problems_of_requests(client: Client, snapshot: SnapshotAssertion, code: str) -> None:
    assert document_of(REQUESTS[code](client), code) == snapshot


@pytest.mark.parametrize("code", KEYED_REQUESTS)
def test_problems_of_keys(keyed: Client, keys: dict[str, str], snapshot: SnapshotAssertion, code: str) -> None:
    assert document_of(KEYED_REQUESTS[code](keyed, keys), code) == snapshot


def test_problems_of_the_rate_limit(shared_catalog: Catalog, snapshot: SnapshotAssertion) -> None:
    with connect(shared_catalog, ServiceSettings(rate_per_minute=1)) as client:
        client.get("/v1/models")
        assert document_of(client.get("/v1/models"), "rate_limited") == snapshot(name="rate_limited")


def test_problems_of_load(catalog: Catalog, snapshot: SnapshotAssertion) -> None:
    options = {"concurrent_searches": 1, "waiting_searches": 1, "request_timeout_s": 0.4}
    with GatedModel(catalog) as model, serving(catalog, **options) as live:
        assert document_of(live.post("ran"), "request_timeout") == snapshot(name="request_timeout")
        assert document_of(live.post("waited"), "queue_timeout") == snapshot(name="queue_timeout")
        model.gate.set()
        until(lambda: live.post().status_code == 200)
    with GatedModel(catalog) as model, serving(catalog, concurrent_searches=1, waiting_searches=0) as live:
        requests = ConcurrentRequests()
        requests.ask(live.post)
        until(lambda: bool(model.texts))
        assert document_of(live.post(), "overloaded") == snapshot(name="overloaded")
        live.operations.drain.begin()
        assert document_of(live.post(), "draining") == snapshot(name="draining")
        model.gate.set()
        requests.wait()


@contextmanager
def without_models(home: Path) -> Iterator[Client]:
    with Catalog(RetrievalSettings(home=home, device="cpu")) as catalog, connect(catalog) as client:
        yield client


def test_problems_of_a_home_without_models(tmp_path: Path, snapshot: SnapshotAssertion) -> None:
    with without_models(tmp_path / "home") as client:
        assert document_of(client.post(TEXT, json=HEART), "no_collection") == snapshot(name="no_collection")
        assert document_of(client.get("/health/ready"), "not_ready") == snapshot(name="not_ready")


def test_problems_of_files(catalog: Catalog, snapshot: SnapshotAssertion) -> None:
    home = catalog.settings.home
    with connect(catalog) as client:
        found = client.post(TEXT, json=HEART).json()
        thumbnail = catalog.settings.media_dir.rglob(f"{found['hits'][0]['image_sha256']}*")
        for path in thumbnail:
            path.unlink()
            path.mkdir()
        answer = client.get(f"/v1/images/{found['hits'][0]['image_sha256']}/thumbnail")
        assert document_of(answer, "media_unavailable") == snapshot(name="media_unavailable")
        (home / "keys.json").write_text("{")
        assert document_of(client.post(TEXT, json=HEART), "keys_damaged") == snapshot(name="keys_damaged")
        (home / "keys.json").unlink()
        (home / "index" / "aliases.json").write_text("{")
        assert document_of(client.post(TEXT, json=HEART), "alias_damaged") == snapshot(name="alias_damaged")


def test_problems_of_the_audit_log_and_experiments(catalog: Catalog, snapshot: SnapshotAssertion) -> None:
    home = catalog.settings.home
    (home / FILE_NAME).mkdir()
    with connect(catalog) as client:
        answer = client.post("/v1/feedback", json=feedback("5f1c"))
        assert document_of(answer, "experiments_unavailable") == snapshot(name="experiments_unavailable")
        (home / "audit").write_text("not a folder")
        assert document_of(client.post(TEXT, json=HEART), "audit_unavailable") == snapshot(name="audit_unavailable")


def test_problems_of_a_smaller_collection(catalog: Catalog, snapshot: SnapshotAssertion) -> None:
    collection = catalog.index.open("cxr_tiny-b")
    collection.record(msgspec.structs.replace(collection.meta, counts={"indiana": 7}))
    with connect(catalog) as client:
        answer = client.put("/v1/models/active", json={"model": "tiny-b"})
        assert document_of(answer, "counts_differ") == snapshot(name="counts_differ")


def test_the_problem_of_an_unexpected_error(shared_catalog: Catalog, snapshot: SnapshotAssertion) -> None:
    @get("/broken", sync_to_thread=False, opt=OPEN)
    def broken() -> None:
        raise RuntimeError("patient Jane Doe")

    app = create_app(ServiceSettings(), shared_catalog)
    app.register(broken)
    with TestClient(app, base_url="http://127.0.0.1") as client:
        assert document_of(client.get("/broken"), "internal_error") == snapshot(name="internal_error")


def test_every_documented_code_has_a_snapshot_or_a_reason(client: Client) -> None:
    document = client.get("/schema/openapi.json").text
    documented = set(re.findall(r"urn:cxr:problem:(\w+)", document))
    snapshots = Path(__file__).with_name("__snapshots__") / "test_problems.ambr"
    produced = set(re.findall(r"'code': '(\w+)'", snapshots.read_text(encoding="utf-8")))
    assert documented - produced == set(NOT_PRODUCED)
