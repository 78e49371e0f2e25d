"""Hostile bodies (too long, too slow, aborted, smuggled) are refused and block no other request."""

from __future__ import annotations

import json
import logging
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from retrieval.catalog import Catalog
from tests.service.conftest import assert_problem, bearer
from tests.service.live import Live, serving, until
from tests.service.raw_http import (
    LIMIT,
    OVERHEAD,
    PART,
    answer_to,
    head,
    read_all,
    sent,
    status_of,
    still_answers,
    upload_head,
)

# Litestar does not close the temporary file of an aborted upload; the interpreter does, at once.
pytestmark = pytest.mark.filterwarnings("ignore:Exception ignored in.*SpooledTemporaryFile")


@pytest.fixture(scope="module")
def live(keyed_catalog: Catalog) -> Iterator[Live]:
    """A server that requires keys, with small limits."""
    with serving(keyed_catalog, upload_limit_bytes=LIMIT, body_timeout_s=1) as live:
        yield live


def test_a_body_with_a_large_content_length_is_refused_before_it_is_sent(live: Live, keys: dict[str, str]) -> None:
    content = upload_head(live, keys["read"], f"Content-Length: {LIMIT + OVERHEAD + 1}", "Connection: close")
    answer = answer_to(live, content)
    assert status_of(answer) == 413
    assert b'"code":"request_too_large"' in answer


def test_a_chunked_body_is_refused_when_it_exceeds_the_limit(live: Live, keys: dict[str, str]) -> None:
    block = b"x" * 50_000
    chunk = f"{len(block):x}\r\n".encode() + block + b"\r\n"
    with sent(live, upload_head(live, keys["read"], "Transfer-Encoding: chunked")) as connection:
        first = PART
        connection.sendall(f"{len(first):x}\r\n".encode() + first + b"\r\n")
        with suppress(BrokenPipeError, ConnectionResetError):  # it may be refused before it is sent completely
            for _ in range((LIMIT + OVERHEAD) // len(block) + 2):
                connection.sendall(chunk)
        assert status_of(connection.recv(65536)) == 413
    still_answers(live, keys["read"])


def test_json_has_its_own_size_limit(live: Live, keys: dict[str, str]) -> None:
    body = json.dumps({"text": "heart", "model": "x" * OVERHEAD}).encode()
    answer = live.client.post(
        "/v1/search/text", content=iter([body]), headers=bearer(keys["read"]) | {"content-type": "application/json"}
    )
    assert_problem(answer, 413, "request_too_large")


def test_a_client_without_a_key_is_refused_before_the_body_is_sent(live: Live) -> None:
    form = "Content-Type: multipart/form-data; boundary=b"
    for path in ("/v1/search/image", "/search/image"):
        answer = answer_to(live, head(live, f"POST {path}", form, f"Content-Length: {LIMIT}", "Connection: close"))
        assert status_of(answer) == 401, path


@pytest.mark.parametrize("path", ["/v1/search/image", "/v1/search/text", "/search/image", "/login"])
def test_a_slow_body_times_out(live: Live, keys: dict[str, str], path: str) -> None:
    kind = {"/v1/search/text": "application/json", "/login": "application/x-www-form-urlencoded"}.get(
        path, "multipart/form-data; boundary=b"
    )
    request = head(
        live, f"POST {path}", f"X-API-Key: {keys['read']}", f"Content-Type: {kind}", "Content-Length: 100000"
    )
    started = time.monotonic()
    with sent(live, request) as connection:
        connection.settimeout(0.2)
        answer = b""
        while time.monotonic() - started < 20 and not answer:
            connection.sendall(b"-")  # single bytes do not extend the timeout
            try:
                answer = connection.recv(65536)
            except TimeoutError:
                continue
        assert time.monotonic() - started > 0.9
        connection.settimeout(10)
        answer += read_all(connection)  # until it is closed: the rest of the body is not a request
    assert status_of(answer) == 408
    assert b'"code":"upload_too_slow"' in answer


def test_slow_bodies_do_not_block_other_requests(keyed_catalog: Catalog, keys: dict[str, str]) -> None:
    with serving(keyed_catalog, body_timeout_s=60) as live:
        request = upload_head(live, keys["read"], "Content-Length: 100000")
        connections = [socket.create_connection(("127.0.0.1", live.port)) for _ in range(64)]
        try:
            for connection in connections:
                connection.sendall(request + PART)
            until(lambda: live.operations.drain.active == 64)
            still_answers(live, keys["read"])
            # The answered request is uncounted a moment after its answer; 64 are still open.
            until(lambda: live.operations.drain.active == 64)
        finally:
            for connection in connections:
                connection.close()
            until(lambda: not live.operations.drain.active)


def test_an_aborted_upload_is_not_a_server_error(
    live: Live, keys: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        for _ in range(5):
            with sent(live, upload_head(live, keys["read"], "Content-Length: 100000") + PART):
                pass
        still_answers(live, keys["read"])
        deadline = time.monotonic() + 5
        codes: list[Any] = []
        while len(codes) < 5 and time.monotonic() < deadline:
            codes = [record.__dict__.get("code") for record in caplog.records if "code" in record.__dict__]
            time.sleep(0.02)
    assert codes == ["upload_aborted"] * 5
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_two_lengths_do_not_smuggle_a_second_request(live: Live, keys: dict[str, str]) -> None:
    inner = head(live, "PUT /v1/models/active", f"X-API-Key: {keys['admin']}", "Content-Length: 2") + b"{}"
    for lengths in (
        ("Content-Length: 4", f"Content-Length: {len(inner)}"),
        ("Content-Length: 0, 4",),
        ("Content-Length: -1",),
        ("Content-Length: +4",),
        ("Transfer-Encoding: chunked, identity",),
        ("Transfer-Encoding: xchunked",),
    ):
        request = head(live, "POST /v1/search/text", f"X-API-Key: {keys['read']}", *lengths)
        answer = answer_to(live, request + inner)
        assert status_of(answer) in (400, 501), lengths
        assert answer.count(b"HTTP/1.1 ") == 1, lengths
