"""`cxr serve`: its addresses, its refusals, and a real process that answers over a socket."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from cxr.serve import serve
from retrieval.catalog import Catalog
from retrieval.errors import CountsDiffer, InvalidRequest
from retrieval.settings import RetrievalSettings
from service.access.keys import KeyFile, KeysDamaged
from service.access.listener import AddressUnavailable, RemoteBindRefused, open_listener

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def running(home: Path, *options: str, **settings: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """`cxr serve` in its own process, and its port."""
    environment = os.environ | {"CXR_HOME": str(home), "CXR_DEVICE": "cpu", "PYTHONUNBUFFERED": "1"} | settings
    command = [sys.executable, "-m", "cxr", "serve", "--port", "0", *options]
    with subprocess.Popen(command, env=environment, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            port = next(found[1] for line in process.stderr if (found := re.search(r"http://\S+:(\d+)", line)))
            yield process, int(port)
        finally:
            process.kill()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7"])
def test_addresses_beyond_loopback_are_refused_before_loading(
    host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXR_HOME", str(tmp_path / "home"))
    with pytest.raises(RemoteBindRefused, match="cxr keys create"):
        serve(host=host, port=0)
    assert not (tmp_path / "home").exists()


def test_expired_and_revoked_keys_do_not_allow_a_remote_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXR_HOME", str(tmp_path))
    file = KeyFile(tmp_path)
    file.create("expired", ("read",), lifetime=timedelta(0))
    file.create("revoked", ("read",))
    file.revoke("revoked")
    with pytest.raises(RemoteBindRefused, match="cxr keys create"):
        serve(host="0.0.0.0", port=0)
    file.path.write_text("{")
    with pytest.raises(KeysDamaged):
        serve(port=0)


def test_a_remote_address_needs_a_key() -> None:
    with open_listener("0.0.0.0", 0, has_key=True) as listener:
        assert listener.getsockname()[1] > 0


def test_with_a_key_a_remote_address_is_served_and_requires_it(tiny_home: Path) -> None:
    _, secret = KeyFile(tiny_home).create("ward-3", ("read",))
    with running(tiny_home, "--host", "0.0.0.0") as (_, port):
        request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/models")
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=30)
        assert refused.value.code == 401
        refused.value.close()
        request.add_header("Authorization", f"Bearer {secret}")
        with urllib.request.urlopen(request, timeout=30) as answer:
            assert json.load(answer)["models"]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.0.0.2"])
def test_loopback_addresses_are_accepted(host: str) -> None:
    open_listener(host, 0, has_key=False).close()


def test_a_port_in_use_is_an_error_before_loading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXR_HOME", str(tmp_path / "home"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(AddressUnavailable, match=str(port)):
            serve(port=port)
    assert not (tmp_path / "home").exists()


def test_answers_do_not_wait_for_an_acknowledgement_of_their_heads() -> None:
    with (
        open_listener("127.0.0.1", 0, has_key=False) as listener,
        socket.create_connection(listener.getsockname()),
        listener.accept()[0] as accepted,
    ):
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_unknown_host_is_an_error() -> None:
    with pytest.raises(AddressUnavailable):
        open_listener("no.such.host.invalid", 0, has_key=True)


def test_setting_out_of_range_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXR_SERVICE_CONCURRENT_SEARCHES", "0")
    with pytest.raises(InvalidRequest, match="concurrent_searches"):
        serve(port=0)


def test_serving_a_model_with_fewer_cases_is_refused(tiny_home: Path) -> None:
    with Catalog(RetrievalSettings(device="cpu")) as catalog:
        collection = catalog.index.open("cxr_tiny-b")
        collection.record(msgspec.structs.replace(collection.meta, complete=False))
    with pytest.raises(CountsDiffer, match="not complete"):
        serve(port=0, model="tiny-b")


def test_serves_over_a_socket_and_stops_on_a_signal(tiny_home: Path) -> None:
    with running(tiny_home, "--model", "tiny-b") as (process, port):
        assert process.stderr is not None
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready", timeout=30) as answer:
            assert json.load(answer)["model"] == "tiny-b"
            assert "server" not in answer.headers
        process.send_signal(signal.SIGTERM)
        log = process.stderr.read()
        process.wait(timeout=30)
    assert "Traceback" not in log
    assert process.returncode == 0


@pytest.mark.parametrize(("remembered", "runs"), [("8", 1), ("0", 2)])
def test_the_same_text_with_other_filters_is_encoded_once(tiny_home: Path, remembered: str, runs: int) -> None:
    def texts_encoded() -> float:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
            counts = re.findall(
                r'^cxr_encode_batch_size_count\{tower="text"\} (\S+)', answer.read().decode(), re.MULTILINE
            )
            return float(counts[0])

    settings = {"CXR_SERVICE_METRICS": "1", "CXR_SERVICE_REMEMBERED_TEXTS": remembered}
    with running(tiny_home, **settings) as (_, port):
        before = texts_encoded()
        for view in ("frontal", "lateral"):
            body = json.dumps({"text": "heart", "filters": {"view": view}}).encode()
            request = urllib.request.Request(
                f"http://127.0.0.1:{port}/v1/search", body, {"Content-Type": "application/json"}
            )
            with urllib.request.urlopen(request, timeout=30) as answer:
                assert {hit["view"] for hit in json.load(answer)["hits"]} == {view}
        assert texts_encoded() - before == runs
