"""Connections that send or read too slowly are closed in time and do not block others."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest

from retrieval.catalog import Catalog
from tests.service.live import ConcurrentRequests, GatedModel, Live, serving, until

LIVE = b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
HALF = b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Half: "
SEARCH = json.dumps({"text": "heart", "k": 1})


def connect(port: int, source: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=10, source_address=(source, 0))


def ended(connection: socket.socket) -> bool:
    """Whether the service closes the connection without an answer, within ten seconds."""
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def is_open(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return connection.recv(1) != b""
    except BlockingIOError:
        return True
    except ConnectionResetError:
        return False


def read_all(connection: socket.socket) -> bytes:
    answer = b""
    with suppress(ConnectionResetError):
        while block := connection.recv(65536):
            answer += block
    return answer


def drip(connection: socket.socket, content: bytes, *, limit_s: float = 10.0) -> float:
    """Send single bytes until the service closes the connection; returns the seconds until then."""
    started = time.monotonic()
    with suppress(BrokenPipeError, ConnectionResetError):
        while time.monotonic() - started < limit_s:
            connection.sendall(content)
            time.sleep(0.05)
    return time.monotonic() - started


@pytest.fixture(scope="module")
def short_timeouts(shared_catalog: Catalog) -> Iterator[Live]:
    """A service with short timeouts."""
    with serving(shared_catalog, head_timeout_s=0.4, body_timeout_s=1) as live:
        yield live


@pytest.mark.parametrize("begin", [b"", b"G", LIVE[:-2], HALF], ids=["nothing", "G", "head", "half"])
def test_an_incomplete_head_times_out(short_timeouts: Live, begin: bytes) -> None:
    with connect(short_timeouts.port) as connection:
        connection.sendall(begin)
        assert ended(connection)


@pytest.mark.parametrize("begin", [HALF, b"GET /", b"GET / HTTP/1.1\r\nX-"])
def test_single_bytes_do_not_extend_the_timeout_of_a_head(short_timeouts: Live, begin: bytes) -> None:
    with connect(short_timeouts.port) as connection:
        connection.sendall(begin)
        assert drip(connection, b"x") < 9


@pytest.mark.parametrize("rest", [HALF, b"G", LIVE[:-2]])
def test_the_next_head_on_a_kept_alive_connection_times_out_too(short_timeouts: Live, rest: bytes) -> None:
    with connect(short_timeouts.port) as connection:
        connection.sendall(LIVE + LIVE + rest)  # pipelined: all requests are sent before the first answer
        answers = read_all(connection)
    assert answers.count(b'{"status":"alive"}') == 2


def test_a_body_that_continues_after_a_refusal_times_out(short_timeouts: Live) -> None:
    head = b"POST /v1/nothing HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000000\r\n\r\n"
    with connect(short_timeouts.port) as connection:
        connection.sendall(head)
        assert connection.recv(65536).startswith(b"HTTP/1.1 404 ")
        assert drip(connection, b"-") < 9


def test_a_client_that_reads_nothing_times_out(short_timeouts: Live) -> None:
    style = b"GET /static/page.css HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", short_timeouts.port))
        connection.settimeout(0.1)
        with suppress(OSError):
            connection.sendall(style * 20_000)
        until(lambda: not len(short_timeouts.server.connections))


def test_slow_but_regular_clients_are_not_cut_off(shared_catalog: Catalog) -> None:
    with GatedModel(shared_catalog) as held, serving(shared_catalog, head_timeout_s=0.3) as live:
        requests = ConcurrentRequests()
        requests.ask(live.post)
        until(lambda: bool(held.texts))
        time.sleep(0.6)  # longer than the timeout of a head
        held.gate.set()
        assert [answer.status_code for answer in requests.wait()] == [200]


@pytest.mark.parametrize("begin", [b"", HALF, LIVE[:-2]])
def test_at_the_limit_the_longest_idle_connection_is_closed(shared_catalog: Catalog, begin: bytes) -> None:
    with serving(shared_catalog, connections=8, head_timeout_s=60) as live, ExitStack() as stack:
        idle = []
        for _ in range(8):
            idle.append(stack.enter_context(connect(live.port)))
            idle[-1].sendall(begin)
        until(lambda: len(live.server.connections) == 8)
        with connect(live.port) as new:
            new.sendall(LIVE)
            assert new.recv(65536).startswith(b"HTTP/1.1 200 ")
            assert ended(idle[0])
            assert all(map(is_open, idle[1:]))
        assert live.post().status_code == 200


def test_clients_without_a_key_do_not_displace_clients_with_one(keyed_catalog: Catalog, keys: dict[str, str]) -> None:
    headers = {"Authorization": f"Bearer {keys['read']}", "Content-Type": "application/json"}
    with serving(keyed_catalog, connections=6) as live, ExitStack() as stack:
        kept = http.client.HTTPConnection("127.0.0.1", live.port, timeout=10)
        stack.callback(kept.close)
        known = http.client.HTTPConnection("127.0.0.1", live.port, timeout=10)
        stack.callback(known.close)
        for _ in range(3):
            kept.request("POST", "/v1/search/text", SEARCH, headers)
            known.request("GET", "/health/live")
            for connection in (kept, known):
                answer = connection.getresponse()
                assert (answer.status, answer.read()[:1]) == (200, b"{")
            idle = [stack.enter_context(connect(live.port)) for _ in range(12)]
            until(lambda idle=idle: ended(idle[0]))  # type: ignore[misc]


def test_a_running_request_is_never_closed_to_make_room(shared_catalog: Catalog) -> None:
    with GatedModel(shared_catalog) as held, serving(shared_catalog, connections=4) as live, ExitStack() as stack:
        requests = ConcurrentRequests()
        for number in range(3):
            requests.ask(lambda number=number: live.post(f"heart {number}"))  # type: ignore[misc]
        until(lambda: live.operations.drain.active == 3)
        flood = [stack.enter_context(connect(live.port)) for _ in range(20)]
        assert all(map(ended, flood[:19]))
        held.gate.set()
        assert [answer.status_code for answer in requests.wait()] == [200] * 3


def test_a_new_connection_is_closed_when_all_others_are_running(shared_catalog: Catalog) -> None:
    with GatedModel(shared_catalog) as held, serving(shared_catalog, connections=2) as live:
        requests = ConcurrentRequests()
        for number in range(2):
            requests.ask(lambda number=number: live.post(f"lung {number}"))  # type: ignore[misc]
        until(lambda: live.operations.drain.active == 2)
        with connect(live.port) as further:
            assert ended(further)
        held.gate.set()
        assert [answer.status_code for answer in requests.wait()] == [200] * 2


def test_one_address_cannot_use_up_the_connections_of_others(shared_catalog: Catalog) -> None:
    options = {"connections": 10, "connections_per_address": 4, "head_timeout_s": 60}
    with serving(shared_catalog, **options) as live, ExitStack() as stack:
        calm = [stack.enter_context(connect(live.port)) for _ in range(3)]
        flood = [stack.enter_context(connect(live.port, "127.0.0.2")) for _ in range(30)]
        assert all(map(ended, flood[:26]))
        assert all(map(is_open, calm + flood[26:]))
        assert len(live.server.connections) == 7


def test_a_flood_is_logged_in_one_line(shared_catalog: Catalog, caplog: pytest.LogCaptureFixture) -> None:
    with serving(shared_catalog, connections=4) as live, ExitStack() as stack:
        flood = [stack.enter_context(connect(live.port)) for _ in range(40)]
        assert all(map(ended, flood[:36]))
    told = [record.getMessage() for record in caplog.records if "connections closed" in record.getMessage()]
    assert told == ["connections closed to make room: 1; 4 are open (CXR_SERVICE_CONNECTIONS)"]
