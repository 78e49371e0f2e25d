"""A body may have chunks, but not millions of them."""

from __future__ import annotations

import h11
import pytest

from retrieval.catalog import Catalog
from service.load.chunk_limit import FREE_CHUNKS, BoundedConnection
from tests.service.live import serving
from tests.service.load.test_connections import connect

HEAD = b"POST /v1/search/text HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n%b\r\n"
CHUNKED = HEAD % b"Transfer-Encoding: chunked\r\n"
BODY = b'{"text": "heart", "k": 1}'


def chunks(content: bytes, size: int) -> bytes:
    parts = [content[start : start + size] for start in range(0, len(content), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def events(*received: bytes) -> list[object]:
    connection = BoundedConnection(h11.SERVER)
    found: list[object] = []
    for data in received:
        connection.receive_data(data)
        while (event := connection.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
            found.append(event)
    return found


@pytest.mark.parametrize(
    "received",
    [
        [CHUNKED, chunks(BODY, 1)],
        [CHUNKED, chunks(bytes(FREE_CHUNKS), 1)],
        [CHUNKED, chunks(bytes(4_000_000), 4096)],
        [HEAD % b"Content-Length: 20000\r\n", *[b"x"] * 20_000],
        [CHUNKED, *[bytes([byte]) for byte in chunks(bytes(100_000), 50_000)]],
    ],
)
def test_usual_chunks_and_slow_networks_are_accepted(received: list[bytes]) -> None:
    assert isinstance(events(*received)[-1], h11.EndOfMessage)


@pytest.mark.parametrize("size", [1, 2, 16, 500])
def test_a_body_of_very_many_small_chunks_is_refused(size: int) -> None:
    with pytest.raises(h11.RemoteProtocolError, match="too many small chunks"):
        events(CHUNKED, chunks(bytes(size * 2 * FREE_CHUNKS), size))


def test_the_service_answers_400_and_closes_the_connection(shared_catalog: Catalog) -> None:
    with serving(shared_catalog) as live:
        with connect(live.port) as connection:
            connection.sendall(CHUNKED + chunks(BODY, 1))
            assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
        with connect(live.port) as connection:
            connection.sendall(CHUNKED + b"1\r\na\r\n" * 400)
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
            assert answer.startswith(b"HTTP/1.1 400 ")
