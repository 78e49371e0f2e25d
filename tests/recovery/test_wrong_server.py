"""Addresses and keys that are not those of a Qdrant server: one line that says what to do, and no secret in it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from qdrant_client import QdrantClient

from retrieval.errors import CollectionExists, NoCollection
from tests.recovery.qdrant_stand_in import QdrantStandIn
from tests.recovery.server_commands import cxr
from tests.recovery.test_server_faults import META, NAME


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        kind, content = self.server.answer
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


@pytest.fixture(
    params=[("text/html", b"<html>log in</html>"), ("application/json", b'{"hello": "world"}')], ids=["html", "json"]
)
def other_server(request: pytest.FixtureRequest) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        server.answer = request.param
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_a_server_of_another_kind_is_named_in_one_line(other_server, home):
    found = cxr(home, other_server, "models")
    assert found.returncode == 1
    assert "index_unreachable" in found.stderr + found.stdout
    assert "Traceback" not in found.stderr and "Qdrant server" in found.stderr + found.stdout


@pytest.mark.parametrize("key", ["schlüssel", "two\nlines"])
def test_a_key_that_cannot_be_sent_is_refused_and_not_shown(key, server, home):
    found = cxr(home, server.url, "models", CXR_INDEX_API_KEY=key)
    assert found.returncode == 1
    assert "index_api_key" in found.stderr + found.stdout
    assert key not in found.stderr + found.stdout and "Traceback" not in found.stderr
    assert not server.calls


def test_a_line_end_after_the_key_is_not_part_of_it(home):
    with QdrantStandIn(api_key="right") as locked:
        assert cxr(home, locked.url, "models", CXR_INDEX_API_KEY="right\r\n").returncode == 0


def test_a_collection_of_another_program_is_named_as_such(server, connect):
    QdrantClient(url=server.url, check_compatibility=False).create_collection(NAME, vectors_config={})
    index = connect(server)
    with pytest.raises(CollectionExists, match="another program made it; rename or delete it"):
        index.create(META, name=NAME)
    with pytest.raises(NoCollection, match="another program made it"):
        index.open(NAME)
