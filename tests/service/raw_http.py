"""Raw HTTP requests, which no client library would send, to a server with small limits."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.service.conftest import bearer
from tests.service.live import Live

LIMIT = 200_000
OVERHEAD = 256 * 1024


@contextmanager
def sent(live: Live, content: bytes) -> Iterator[socket.socket]:
    """A connection over which `content` was sent, as far as the server read it before closing."""
    with socket.create_connection(("127.0.0.1", live.port), timeout=10) as connection:
        with suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(content)
        yield connection


def answer_to(live: Live, content: bytes) -> bytes:
    """The whole answer to `content`; the server must close the connection within ten seconds."""
    with sent(live, content) as connection:
        return read_all(connection)


def read_all(connection: socket.socket) -> bytes:
    answer = b""
    with suppress(ConnectionResetError):  # the server closed before it read everything
        while block := connection.recv(65536):
            answer += block
    return answer


def status_of(answer: bytes) -> int:
    assert answer.startswith(b"HTTP/1.1 "), answer[:80]
    return int(answer[9:12])


def head(live: Live, request: str, *headers: str) -> bytes:
    lines = [f"{request} HTTP/1.1", f"Host: 127.0.0.1:{live.port}", *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1")


def upload_head(live: Live, key: str, *headers: str) -> bytes:
    form = "Content-Type: multipart/form-data; boundary=b"
    return head(live, "POST /v1/search/image", f"Authorization: Bearer {key}", form, *headers)


PART = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'


def still_answers(live: Live, key: str) -> None:
    answer = live.client.post("/v1/search/text", json={"text": "heart", "k": 1}, headers=bearer(key))
    assert answer.status_code == 200
