"""`cxr serve`: where it listens, what it refuses, and one real process answering over a socket."""

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
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from retrieval.catalog import Catalog
from retrieval.errors import CountsDiffer, InvalidRequest
from retrieval.settings import RetrievalSettings
from service.binding import AddressUnavailable, RemoteBindRefused, open_listener
from service.cli import serve
from service.keys import KeyFile, KeysDamaged

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7"])
def test_addresses_beyond_loopback_are_refused_before_anything_is_loaded(
    host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXR_HOME", str(tmp_path / "home"))
    with pytest.raises(RemoteBindRefused, match="cxr keys create"):
        serve(host=host, port=0)
    assert not (tmp_path / "home").exists()


def test_keys_that_open_nothing_do_not_open_a_remote_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_with_a_key_a_remote_address_is_served_and_needs_it(tiny_home: Path) -> None:
    _, secret = KeyFile(tiny_home).create("ward-3", ("read",))
    environment = os.environ | {"CXR_HOME": str(tiny_home), "CXR_DEVICE": "cpu", "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, str(ROOT / "cxr.py"), "serve", "--host", "0.0.0.0", "--port", "0"]
    with subprocess.Popen(command, env=environment, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            port = next(found[1] for line in process.stderr if (found := re.search(r"http://\S+:(\d+)", line)))
            request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/models")
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(request, timeout=30)
            assert refused.value.code == 401
            refused.value.close()
            request.add_header("Authorization", f"Bearer {secret}")
            with urllib.request.urlopen(request, timeout=30) as answer:
                assert json.load(answer)["models"]
        finally:
            process.kill()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.0.0.2"])
def test_loopback_addresses_are_accepted(host: str) -> None:
    open_listener(host, 0, has_key=False).close()


def test_port_in_use_is_an_error_before_anything_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXR_HOME", str(tmp_path / "home"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(AddressUnavailable, match=str(port)):
            serve(port=port)
    assert not (tmp_path / "home").exists()


def test_answers_are_not_held_back_until_their_heads_are_acknowledged() -> None:
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


def test_serves_over_a_socket_and_stops_when_told(tiny_home: Path) -> None:
    environment = os.environ | {"CXR_HOME": str(tiny_home), "CXR_DEVICE": "cpu", "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, str(ROOT / "cxr.py"), "serve", "--port", "0", "--model", "tiny-b"]
    with subprocess.Popen(command, env=environment, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            address = next(found[0] for line in process.stderr if (found := re.search(r"http://\S+", line)))
            with urllib.request.urlopen(f"{address}/health/ready", timeout=30) as answer:
                assert json.load(answer)["model"] == "tiny-b"
                assert "server" not in answer.headers
            process.send_signal(signal.SIGTERM)
            log = process.stderr.read()
            process.wait(timeout=30)
        finally:
            process.kill()
    assert "Traceback" not in log
    assert process.returncode == 0
