"""The index and the commands with a server that needs a key or has a certificate: a stand-in, and a real server."""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from archives.indiana import IndianaSource
from ingest.worker import Worker
from retrieval.errors import IndexForbidden, IndexUnreachable, SystemFailure
from retrieval.index.engines import open_index
from retrieval.settings import RetrievalSettings
from tests.qdrant import keys
from tests.recovery.qdrant_stand_in import FaultPlan, QdrantStandIn
from tests.recovery.server_commands import cxr, ingest_options

REAL = pytest.mark.real


@dataclass
class SecureServer:
    """A server with a key and with a certificate of a private authority; `stand_in` is None for a real one."""

    url: str
    ca_file: Path
    stand_in: QdrantStandIn | None

    def settings(self, home: Path, **more: object) -> RetrievalSettings:
        options = {"index_api_key": keys.API_KEY, "index_ca_file": self.ca_file, "index_patience_s": 60} | more
        return RetrievalSettings(home=home, index=self.url, **options)


@pytest.fixture(params=["stand_in", pytest.param("node", marks=REAL)])
def secure(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SecureServer]:
    if request.param == "node":
        node = request.getfixturevalue("qdrant_secure")
        yield SecureServer(node.url, node.folder / "ca.pem", None)
        node.drop_all()
        return
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with QdrantStandIn(tls=context, api_key=keys.API_KEY) as started:
        yield SecureServer(started.url, tmp_path / "ca.pem", started)


def test_the_certificate_of_a_private_authority_is_trusted_through_its_file(secure, home, encoder, archive):
    if secure.stand_in:
        secure.stand_in.faults = FaultPlan(3, {"drop": 0.05, "lose": 0.05})
    index = open_index(secure.settings(home), patient=True)
    assert Worker(encoder, index).run(IndianaSource(**archive)).indexed == 24
    index.close()


def test_an_unknown_certificate_is_an_error_without_retries(secure, home):
    started = time.monotonic()
    with pytest.raises(IndexUnreachable, match=r"(?s)certificate.*CXR_INDEX_CA_FILE"):
        open_index(secure.settings(home, index_ca_file=None), patient=True)
    assert time.monotonic() - started < 30
    assert secure.stand_in is None or secure.stand_in.calls == []


def test_the_error_names_a_file_without_a_certificate(secure, home):
    (home / "ca.pem").write_text("nonsense")
    with pytest.raises(SystemFailure, match=r"ca\.pem is not a readable PEM file"):
        open_index(secure.settings(home, index_ca_file=home / "ca.pem"), patient=True)


def test_a_wrong_key_is_an_error_without_retries(secure, home):
    started = time.monotonic()
    with pytest.raises(IndexForbidden, match="rights") as error:
        open_index(secure.settings(home, index_api_key="wrong-one", index_patience_s=600), patient=True)
    assert time.monotonic() - started < 30
    assert "wrong-one" not in str(error.value)
    assert secure.stand_in is None or len(secure.stand_in.calls) == 1


def test_a_command_without_the_key_says_what_to_set_and_succeeds_with_it(secure, home, archive):
    options, certificate = ingest_options(archive), {"CXR_INDEX_CA_FILE": str(secure.ca_file)}
    refused = cxr(home, secure.url, *options, **certificate)
    assert refused.returncode == 1
    assert "CXR_INDEX_API_KEY" in refused.stderr and "Traceback" not in refused.stderr
    admitted = cxr(home, secure.url, *options, CXR_INDEX_API_KEY=keys.API_KEY, **certificate)
    assert json.loads(admitted.stdout)["indexed"] == 24


@pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection")
def test_a_key_is_also_sent_over_plain_http(connect, home, archive):
    with QdrantStandIn(api_key="right") as locked:
        with pytest.raises(IndexForbidden, match=r"401.*rights"):
            connect(locked, key="wrong")
        admitted = cxr(home, locked.url, *ingest_options(archive), CXR_INDEX_API_KEY="right")
        assert json.loads(admitted.stdout)["indexed"] == 24


@pytest.fixture(params=["stand_in", pytest.param("node", marks=REAL)])
def without_tls(request: pytest.FixtureRequest) -> str:
    """The address of a server that speaks plain HTTP."""
    server = request.getfixturevalue("server" if request.param == "stand_in" else "qdrant_node")
    url: str = server.url
    return url


def test_https_to_a_server_without_tls_is_an_error_without_retries(without_tls, home):
    started = time.monotonic()
    address = without_tls.replace("http://", "https://")
    with pytest.raises(IndexUnreachable, match="no secure connection"):
        open_index(RetrievalSettings(home=home, index=address, index_patience_s=60), patient=True)
    assert time.monotonic() - started < 30
