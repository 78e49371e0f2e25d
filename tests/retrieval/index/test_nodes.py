"""Requests to a cluster: another node when one is away, in time, and writes in their order."""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from retrieval.index.deadline import one_request, one_search
from retrieval.index.server.nodes import Nodes


class Node(ThreadingHTTPServer):
    """A node that answers `status`, and lists the targets of the requests."""

    daemon_threads = True

    def __init__(self, status: int = 200, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.status = status
        self.content_type = "application/json"
        self.targets: list[str] = []
        self.hosts: list[str] = []
        self.bodies: list[bytes] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def last_params(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.targets[-1]).query)


class _Handler(BaseHTTPRequestHandler):
    server: Node

    def do_GET(self) -> None:
        self.server.targets.append(self.path)
        self.server.hosts.append(self.headers["host"])
        self.server.bodies.append(self.rfile.read(int(self.headers.get("content-length") or 0)))
        content = json.dumps({"result": self.server.url}).encode()
        self.send_response(self.server.status)
        self.send_header("content-length", str(len(content)))
        self.send_header("content-type", self.server.content_type)
        self.end_headers()
        self.wfile.write(content)

    do_PUT = do_POST = do_GET  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


@contextmanager
def answering(status: int = 200, port: int = 0) -> Iterator[Node]:
    node = Node(status, port)
    thread = threading.Thread(target=node.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield node
    finally:
        node.shutdown()
        node.server_close()
        thread.join()


@pytest.fixture
def node() -> Iterator[Node]:
    with answering() as node:
        yield node


@pytest.fixture
def other() -> Iterator[Node]:
    with answering() as node:
        yield node


@pytest.fixture
def stalled() -> Iterator[str]:
    """Address of a server that takes connections and never answers, as a stopped process."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def refused() -> str:
    """Address of a port that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


@contextmanager
def client_of(*urls: str, timeout_s: float = 5) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=urls[0], timeout=timeout_s, transport=Nodes(urls, verify=True)) as client:
        yield client


def test_another_node_answers_when_one_refuses_the_connection(refused: str, node: Node, caplog) -> None:
    caplog.set_level(logging.WARNING)
    with client_of(refused, node.url) as client:
        assert client.get("/collections").json()["result"] == node.url
        assert client.post("/collections/x/points/count", json={"exact": True}).json()["result"] == node.url
    assert node.bodies[-1] == b'{"exact":true}'
    assert set(node.hosts) == {urlsplit(node.url).netloc}
    assert len([line for line in caplog.messages if refused in line and node.url in line]) == 1


def test_another_node_answers_when_one_is_stopped_and_the_next_request_begins_there(stalled: str, node: Node) -> None:
    with client_of(stalled, node.url) as client:
        started = time.monotonic()
        with one_search(), one_request(2):
            assert client.get("/collections").json()["result"] == node.url
        first_s = time.monotonic() - started
        with one_search(), one_request(2):
            assert client.get("/collections").json()["result"] == node.url
        assert 1 <= first_s < 2
        assert time.monotonic() - started - first_s < 1


def test_outside_a_search_each_node_has_the_whole_timeout(stalled: str, node: Node) -> None:
    with client_of(stalled, node.url, timeout_s=1) as client:
        started = time.monotonic()
        assert client.put("/collections/x/points?wait=true").json()["result"] == node.url
        assert 1 <= time.monotonic() - started < 5
        assert node.last_params()["timeout"] == ["1"]


def test_a_node_that_was_away_is_asked_again_when_the_others_are(node: Node, other: Node) -> None:
    with client_of(node.url, other.url) as client:
        port = node.server_address[1]
        node.shutdown()
        node.server_close()
        assert client.get("/collections").json()["result"] == other.url
        with answering(port=port) as again:
            assert client.get("/collections").json()["result"] == other.url
            other.shutdown()
            other.server_close()
            assert client.get("/collections").json()["result"] == again.url
        with pytest.raises(httpx.ConnectError):
            client.get("/collections")


@pytest.mark.parametrize("status", [408, 500, 503])
def test_after_an_answer_of_a_node_in_trouble_the_next_request_takes_another(status: int, other: Node) -> None:
    with answering(status) as node, client_of(node.url, other.url) as client:
        assert client.get("/collections").status_code == status
        assert client.get("/collections").status_code == 200
        assert (len(node.targets), len(other.targets)) == (1, 1)


def test_a_node_that_refuses_a_request_is_asked_again(other: Node) -> None:
    with answering(400) as node, client_of(node.url, other.url) as client:
        assert [client.get("/collections").status_code for _ in range(2)] == [400, 400]
    assert not other.targets


def test_all_nodes_together_take_no_longer_than_a_search_may(stalled: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        second = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with client_of(stalled, second) as client:
            started = time.monotonic()
            with pytest.raises(httpx.ReadTimeout), one_search(), one_request(1):
                client.get("/collections")
            assert time.monotonic() - started < 3


def test_the_server_is_told_the_timeout(node: Node, other: Node) -> None:
    with client_of(node.url, timeout_s=30) as client:
        client.get("/collections/x/points/1?consistency=all")
        assert node.last_params() == {"consistency": ["all"], "timeout": ["30"]}
        with one_search(), one_request(7.5):
            client.post("/collections/x/points/query")
        assert node.last_params() == {"timeout": ["8"]}
        client.get("/telemetry")
        assert node.last_params() == {}
    with client_of(node.url, other.url) as client, one_search(), one_request(10):
        client.get("/collections")
        assert node.last_params() == {"timeout": ["5"]}


def test_only_writes_to_a_cluster_ask_for_their_order(node: Node, other: Node) -> None:
    with client_of(node.url, other.url) as client:
        client.put("/collections/x/points?wait=true")
        assert node.last_params()["ordering"] == ["medium"]
        client.post("/collections/x/points/query")
        assert "ordering" not in node.last_params()
    with client_of(node.url) as client:
        client.put("/collections/x/points?wait=true")
        assert "ordering" not in node.last_params()


def test_another_node_answers_when_one_is_not_a_qdrant_server(node: Node) -> None:
    with answering() as page, client_of(page.url, node.url) as client:
        page.content_type = "text/html"
        assert client.get("/collections").json()["result"] == node.url
