"""Readiness fails when a search would fail, and says why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnxruntime
import pytest

from retrieval.catalog import Catalog
from retrieval.settings import RetrievalSettings
from tests.service.conftest import Client, assert_problem, connect


def reason(client: Client) -> str:
    """Why the service is not ready. It must still be alive."""
    (told,) = assert_problem(client.get("/health/ready"), 503, "not_ready")["reasons"]
    assert client.get("/health/live").status_code == 200
    return str(told)


def test_not_ready_after_the_engine_fails(catalog: Catalog, own_client: Client) -> None:
    assert own_client.get("/health/ready").status_code == 200
    collection: Any = catalog.retriever().collection
    collection.close()
    try:
        assert reason(own_client).startswith("index_error: ")
    finally:
        catalog.index._open.clear()  # type: ignore[attr-defined]  # it cannot be closed once more


@pytest.mark.skipif("CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="there is CUDA here")
def test_not_ready_without_the_configured_device(tiny_home: Path) -> None:
    with Catalog(RetrievalSettings(home=tiny_home, device="cuda")) as catalog, connect(catalog) as client:
        assert reason(client).startswith("device_unavailable: ")


def test_not_ready_when_a_session_runs_on_another_device(catalog: Catalog, own_client: Client) -> None:
    assert own_client.get("/health/ready").status_code == 200
    catalog.settings.device = "cuda"  # like a failed run on CUDA, after which onnxruntime continues on the CPU
    told = reason(own_client)
    assert told.startswith("device_unavailable: the configured device is cuda, but the image tower runs on")


def test_ready_again_after_the_cause_is_fixed(catalog: Catalog, own_client: Client) -> None:
    alias = catalog.settings.home / "index" / "aliases.json"
    content = alias.read_bytes()
    alias.write_text("{")
    assert reason(own_client).startswith("alias_damaged: ")
    alias.write_bytes(content)
    assert own_client.get("/health/ready").status_code == 200
