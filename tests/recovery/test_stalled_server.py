"""A service and commands on a server that stalls, is slow, or refuses: in time, and without a word of the server."""

from __future__ import annotations

import logging
import re
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from qdrant_client import models

from ingest.doctor.home import check_home
from ingest.transfer import push
from retrieval.catalog import Catalog
from retrieval.errors import IndexForbidden, IndexUnreachable
from retrieval.index.edge.index import EdgeIndex
from retrieval.index.server.index import ServerIndex
from retrieval.settings import RetrievalSettings
from tests.congruence.conftest import META, NAME, make_points
from tests.qdrant.keys import make_token
from tests.recovery.qdrant_stand_in import FaultPlan, QdrantStandIn
from tests.recovery.server_commands import cxr
from tests.service.conftest import Client, assert_problem
from tests.service.conftest import connect as connect_service
from tests.service.test_serve import running

TEXT = {"text": "heart", "k": 1}
STALL = FaultPlan(shares={"stall": 1.0}, stall_s=60)


@pytest.fixture
def filled(tiny_home: Path, server: QdrantStandIn) -> QdrantStandIn:
    """A server with the active collection `tiny-a`."""
    source = EdgeIndex(tiny_home / "index")
    target = ServerIndex.connect(server.url, api_key=None, timeout_s=5)
    push(source.open("cxr_tiny-a"), target)
    source.close()
    target.close()
    return server


def settings(home: Path, server: QdrantStandIn, **more: Any) -> RetrievalSettings:
    return RetrievalSettings(home=home, index=server.url, device="cpu", index_search_timeout_s=1, **more)


@pytest.fixture
def client(tiny_home: Path, filled: QdrantStandIn) -> Iterator[Client]:
    """A client of a service that has searched before."""
    with Catalog(settings(tiny_home, filled)) as catalog, connect_service(catalog) as client:
        assert client.post("/v1/search/text", json=TEXT).status_code == 200
        yield client


def assert_tells_nothing(answer: httpx.Response, server: QdrantStandIn) -> None:
    assert server.url.rpartition(":")[2] not in answer.text
    assert not re.search(r"127\.0\.0\.1|Qdrant|planned fault|timed out|http://(?!www)", answer.text), answer.text


def test_a_search_on_a_stalled_server_ends_in_time_and_the_next_ones_are_answered(client, filled):
    filled.faults = STALL
    started = time.monotonic()
    answer = client.post("/v1/search/text", json=TEXT)
    assert time.monotonic() - started < 5
    assert_problem(answer, 503, "index_unreachable")
    assert int(answer.headers["retry-after"]) >= 1
    assert_tells_nothing(answer, filled)
    filled.stop_faults()
    assert client.post("/v1/search/text", json=TEXT).status_code == 200


def test_all_requests_of_one_search_share_its_deadline(client, filled, monkeypatch):
    handle = filled.handle

    def handle_slowly(*values: Any) -> Any:
        time.sleep(0.4)  # less than the second that a search may wait
        return handle(*values)

    monkeypatch.setattr(filled, "handle", handle_slowly)
    time.sleep(1.1)  # answers about the collection are remembered for a second
    started = time.monotonic()
    answer = client.post("/v1/search", json={"text": "heart", "facets": ["view", "present", "dataset", "absent"]})
    assert_problem(answer, 503, "index_unreachable")
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        ("408", 503, "index_unreachable"),
        ("503", 503, "index_unreachable"),
        ("500", 503, "index_unreachable"),
        ("429", 503, "index_unreachable"),
        ("drop", 503, "index_unreachable"),
        ("403", 503, "index_forbidden"),
    ],
)
def test_no_answer_of_the_service_tells_the_servers_address_or_words(fault, status, code, client, filled, caplog):
    caplog.set_level(logging.WARNING)
    filled.faults = FaultPlan(shares={fault: 1.0}, retry_after_s=7)
    for answer in (
        client.post("/v1/search/text", json=TEXT),
        client.get("/v1/studies/1"),
        client.get("/v1/models"),
        client.post("/v1/facets", json={"fields": ["view"]}),
    ):
        assert_problem(answer, status, code)
        assert_tells_nothing(answer, filled)
        if code == "index_unreachable":
            assert answer.headers["retry-after"] == ("7" if fault == "429" else "5")
    ready = client.get("/health/ready")
    assert_problem(ready, 503, "not_ready")
    assert_tells_nothing(ready, filled)
    page = client.get("/", params={"text": "heart"})
    assert code.replace("_", " ").capitalize() in page.text or "index" in page.text
    assert_tells_nothing(page, filled)
    assert filled.url in caplog.text  # the operator learns the cause


def test_a_search_without_an_active_model_does_not_tell_the_address(tiny_home, server):
    with Catalog(settings(tiny_home, server)) as catalog, connect_service(catalog) as client:
        answer = client.post("/v1/search/text", json=TEXT)
        assert_problem(answer, 409, "no_collection")
        assert_tells_nothing(answer, server)
        named = client.post("/v1/search/text", json=TEXT | {"model": "tiny-b"})
        assert_problem(named, 409, "no_collection")
        assert_tells_nothing(named, server)


def test_a_service_ends_soon_after_sigterm_while_its_server_stalls(tiny_home, filled):
    with running(tiny_home, CXR_INDEX=filled.url) as (process, port):
        filled.faults = STALL
        waiting = threading.Thread(
            target=lambda: httpx.post(f"http://127.0.0.1:{port}/v1/search/text", json=TEXT, timeout=60)
        )
        waiting.start()
        deadline = time.monotonic() + 10
        while not filled.fault_counts["stall"]:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        started = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0
        assert time.monotonic() - started < 15
        waiting.join()


@pytest.mark.parametrize("answers", [1, 3])
def test_a_write_that_is_not_applied_in_time_is_repeated(answers, server, connect, without_delays, monkeypatch):
    collection = connect(server).create(META, name=NAME)
    late = answer_late(server, monkeypatch, answers)
    collection.upsert(make_points(5))
    assert late == ["upsert"] * answers
    assert server.calls.count("PUT points") == answers + 1
    assert collection.count() == 5


def test_a_write_that_is_not_applied_in_time_fails_without_patience(server, connect, monkeypatch):
    collection = connect(server, patience_s=0).create(META, name=NAME)
    answer_late(server, monkeypatch, 100)
    with pytest.raises(IndexUnreachable, match="busy"):
        collection.upsert(make_points(5))


def answer_late(server: QdrantStandIn, monkeypatch: pytest.MonkeyPatch, answers: int) -> list[str]:
    """The next `answers` writes of points are stored, and answered with `wait_timeout`; the list grows with them."""
    handle, late = server.handle, []

    def handle_late(route: str, name: str, body: Any) -> Any:
        result = handle(route, name, body)
        if route == "upsert" and len(late) < answers:
            late.append(route)
            return models.UpdateResult(operation_id=0, status=models.UpdateStatus.WAIT_TIMEOUT)
        return result

    monkeypatch.setattr(server, "handle", handle_late)
    return late


def test_messages_of_commands_have_one_line_without_the_raw_answer(filled, tiny_home):
    for fault in ("503", "408", "403", "drop"):
        filled.faults = FaultPlan(shares={fault: 1.0})
        ended = cxr(tiny_home, filled.url, "search", "--text", "heart")
        (line,) = ended.stderr.splitlines()[-1:]
        assert ended.returncode == 1 and line.startswith("error [index_") and filled.url in line
        assert "Raw response" not in ended.stderr and "{" not in ended.stderr and "Traceback" not in ended.stderr


def test_only_doctor_warns_of_a_key_over_plain_http(tiny_home, tmp_path):
    with QdrantStandIn(api_key="key") as server:
        ended = cxr(tiny_home, server.url, "models", CXR_INDEX_API_KEY="key")
        assert (ended.returncode, ended.stderr) == (0, "")
    for url, warns in (("http://qdrant:6333", True), ("https://qdrant:6333", False), ("http://127.0.0.1:6333", False)):
        given = RetrievalSettings(home=tiny_home, index=url, index_api_key="key")
        index = EdgeIndex(tmp_path / "empty")
        notes = [each for each in check_home(given, index) if each.level == "note"]
        index.close()
        assert [url in note.message for note in notes] == ([True] if warns else [])


def test_a_token_that_does_not_name_the_alias_is_told_what_it_lacks(tiny_home, server):
    token = make_token([{"collection": "cxr_tiny-a", "access": "r"}])
    with Catalog(settings(tiny_home, server, index_api_key=token)) as catalog:
        with pytest.raises(IndexForbidden, match=r"names cxr_tiny-a; it must name both the alias `cxr`"):
            catalog.retriever()
        with connect_service(catalog) as client:
            answer = client.post("/v1/search/text", json=TEXT)
            assert_problem(answer, 503, "index_forbidden")
            assert "cxr_tiny-a" not in answer.text and "demo" not in answer.text
