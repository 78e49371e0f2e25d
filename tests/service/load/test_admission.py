"""Admission: which requests run, wait or get 429, and what happens to clients that give up."""

from __future__ import annotations

import re
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from retrieval.catalog import Catalog
from tests.service.conftest import Client, assert_problem
from tests.service.live import ConcurrentRequests, GatedModel, Live, serving, until


def places(live: Live, name: str) -> float:
    """The number of searches that are `running` or `waiting`, from the metrics."""
    content, _ = live.operations.metrics.render("")
    found = re.search(rf'^cxr_permits_{name}{{permits="searches"}} (\S+)$', content.decode(), re.MULTILINE)
    assert found
    return float(found[1])


@pytest.fixture
def held(catalog: Catalog) -> Iterator[GatedModel]:
    with GatedModel(catalog) as held:
        yield held


@pytest.fixture
def live(catalog: Catalog) -> Iterator[Live]:
    """A service with two places for searches and a queue of two."""
    with serving(catalog, concurrent_searches=2, waiting_searches=2) as live:
        yield live


def fill(live: Live, held: GatedModel, requests: ConcurrentRequests) -> None:
    """Take both places, then both places in the queue."""
    for number in range(2):
        requests.ask(lambda number=number: live.post(f"heart {number}"))
    until(lambda: len(held.texts) == 2)
    for number in range(2, 4):
        requests.ask(lambda number=number: live.post(f"heart {number}"))
    until(lambda: places(live, "waiting") == 2)


def test_an_excess_request_gets_429_at_once_and_the_others_are_answered(live: Live, held: GatedModel) -> None:
    requests = ConcurrentRequests()
    fill(live, held, requests)
    refused = live.post("one too many")
    problem = assert_problem(refused, 429, "overloaded")
    assert "2 running, 2 waiting" in problem["detail"]
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    held.gate.set()
    assert [answer.status_code for answer in requests.wait()] == [200] * 4
    assert "one too many" not in held.texts
    assert live.post().status_code == 200


def test_many_clients_at_once_get_200_or_429_and_the_service_recovers(catalog: Catalog) -> None:
    with GatedModel(catalog, delay_s=0.02) as held, serving(catalog, concurrent_searches=2, waiting_searches=2) as live:
        held.gate.set()
        requests = ConcurrentRequests()
        start = threading.Barrier(64)

        def ask() -> httpx.Response:
            start.wait()
            return live.post()

        for _ in range(64):
            requests.ask(ask)
        answers = requests.wait()
        statuses = Counter(answer.status_code for answer in answers)
        assert set(statuses) == {200, 429}
        assert statuses[200] >= 4
        assert all(answer.json()["code"] == "overloaded" for answer in answers if answer.status_code == 429)
        assert (places(live, "running"), places(live, "waiting")) == (0, 0)
        assert [live.post().status_code for _ in range(8)] == [200] * 8


def test_thirty_two_clients_are_answered_with_default_settings(catalog: Catalog) -> None:
    with serving(catalog) as live:
        requests = ConcurrentRequests()
        start = threading.Barrier(32)

        def ask_ten_times() -> httpx.Response:
            start.wait()
            for _ in range(9):
                assert live.post().status_code == 200
            return live.post()

        for _ in range(32):
            requests.ask(ask_ten_times)
        assert [answer.status_code for answer in requests.wait()] == [200] * 32


@pytest.mark.parametrize("kind", ["multipart/form-data; boundary=b", "application/json"])
def test_an_upload_is_refused_before_its_body_is_sent(live: Live, held: GatedModel, kind: str) -> None:
    path = "/v1/search" if kind == "application/json" else "/v1/search/image"
    requests = ConcurrentRequests()
    fill(live, held, requests)
    with socket.create_connection(("127.0.0.1", live.port), timeout=10) as connection:
        connection.sendall(
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 50000000\r\n"
            f"Content-Type: {kind}\r\n\r\n".encode()
        )
        assert connection.recv(12) == b"HTTP/1.1 429"
    held.gate.set()
    requests.wait()


def test_the_queue_is_first_come_first_served(catalog: Catalog) -> None:
    with GatedModel(catalog) as held, serving(catalog, concurrent_searches=1, waiting_searches=8) as live:
        requests = ConcurrentRequests()
        for number in range(6):
            requests.ask(lambda number=number: live.post(f"heart {number}"))
            until(lambda number=number: len(held.texts) + places(live, "waiting") == number + 1)
        held.gate.set()
        requests.wait()
        assert held.texts == [f"heart {number}" for number in range(6)]


def test_a_disconnected_client_leaves_the_queue_and_its_search_never_runs(catalog: Catalog) -> None:
    with GatedModel(catalog) as held, serving(catalog, concurrent_searches=1, waiting_searches=8) as live:
        requests = ConcurrentRequests()
        requests.ask(lambda: live.post("first"))
        until(lambda: held.texts == ["first"])
        with pytest.raises(httpx.ReadTimeout):
            live.post("impatient", timeout=0.3)
        until(lambda: places(live, "waiting") == 0)
        requests.ask(lambda: live.post("last"))
        until(lambda: places(live, "waiting") == 1)
        held.gate.set()
        assert [answer.status_code for answer in requests.wait()] == [200, 200]
        assert held.texts == ["first", "last"]


def test_a_timeout_says_whether_the_request_ran_and_its_place_stays_taken(catalog: Catalog) -> None:
    options = {"concurrent_searches": 1, "waiting_searches": 1, "request_timeout_s": 0.4}
    with GatedModel(catalog) as held, serving(catalog, **options) as live:
        assert_problem(live.post("ran"), 504, "request_timeout")
        waited = live.post("waited")
        assert_problem(waited, 503, "queue_timeout")
        assert int(waited.headers["retry-after"]) >= 1
        assert held.texts == ["ran"]
        assert places(live, "running") == 1
        held.gate.set()
        until(lambda: places(live, "running") == 0)
        assert live.post().status_code == 200


def test_thumbnails_health_and_metrics_do_not_queue_behind_searches(catalog: Catalog) -> None:
    sha256 = catalog.retriever().study("1").images[0].image_sha256
    with GatedModel(catalog) as held, serving(catalog, concurrent_searches=1, waiting_searches=0, metrics=True) as live:
        requests = ConcurrentRequests()
        requests.ask(live.post)
        until(lambda: len(held.texts) == 1)
        assert live.post().status_code == 429
        for path in (f"/v1/images/{sha256}/thumbnail", "/health/ready", "/health/live", "/metrics"):
            assert live.client.get(path, timeout=5).status_code == 200, path
        held.gate.set()
        requests.wait()


def test_the_page_shows_that_the_service_is_overloaded(catalog: Catalog) -> None:
    with GatedModel(catalog) as held, serving(catalog, concurrent_searches=1, waiting_searches=0) as live:
        requests = ConcurrentRequests()
        requests.ask(live.post)
        until(lambda: len(held.texts) == 1)
        page = live.client.get("/", params={"text": "heart"})
        assert page.status_code == 429
        assert page.headers["content-type"].startswith("text/html")
        assert "retry-after" in page.headers
        assert "Overloaded" in page.text
        held.gate.set()
        requests.wait()


def test_an_error_of_the_engine_gives_its_permit_back(catalog: Catalog) -> None:
    with serving(catalog, concurrent_searches=1, waiting_searches=0) as live:
        for _ in range(3):
            assert_problem(
                live.client.post("/v1/search/text", json={"text": "heart", "model": "no"}), 404, "unknown_model"
            )
        assert live.post().status_code == 200


def stages(header: str) -> dict[str, float]:
    return {part.split(";dur=")[0]: float(part.split(";dur=")[1]) for part in header.split(", ")}


def test_answers_carry_the_times_of_their_stages(client: Client, png: bytes) -> None:
    text = client.post("/v1/search/text", json={"text": "heart"})
    image = client.post("/v1/search/image", files={"image": ("a.png", png)})
    similar = client.get("/v1/studies/1/similar")
    for answer, own in ((text, {"encode"}), (image, {"decode", "encode"}), (similar, {"fetch"})):
        found = stages(answer.headers["server-timing"])
        assert set(found) >= {"queue", "search", "total"} | own
        timings = answer.json()["timings_ms"]
        assert {name: found[name] for name in timings} == pytest.approx(timings, abs=0.06)
        assert found["total"] + 0.5 >= sum(found.values()) - found["total"]
    assert "server-timing" not in client.get("/health/live").headers


def test_batches_and_the_page_carry_the_times_of_their_stages(client: Client) -> None:
    batch = client.post("/v1/search/batch", json={"queries": [{"text": "heart"}, {"text": "nodule"}]})
    found, results = stages(batch.headers["server-timing"]), batch.json()["results"]
    assert found["encode"] == pytest.approx(results[0]["timings_ms"]["encode"], abs=0.06)  # one run for both
    assert found["search"] == pytest.approx(sum(result["timings_ms"]["search"] for result in results), abs=0.06)
    assert set(stages(client.get("/?text=heart").headers["server-timing"])) >= {"queue", "encode", "search", "total"}


def memory_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads Linux's own count")
def test_memory_does_not_grow_with_the_number_of_requests(client: Client, png: bytes) -> None:
    def ask(count: int) -> None:
        for number in range(count):
            assert client.post("/v1/search/text", json={"text": f"heart {number}"}).status_code == 200
            assert client.post("/v1/search/image", files={"image": ("a.png", png)}).status_code == 200

    ask(100)
    before = memory_bytes()
    ask(300)
    # Keeping one image per upload would take 20 MB, and its pixel array as much again.
    assert memory_bytes() - before < 8 << 20
