"""Stopping: running requests are answered, new ones are refused, and the process ends in time."""

from __future__ import annotations

import json
import math
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from retrieval.catalog import Catalog
from service.load.drain import Drain
from tests.service.conftest import assert_problem
from tests.service.live import ConcurrentRequests, GatedModel, serving, until

ROOT = Path(__file__).resolve().parents[3]
MARGIN_S = 1.5  # after the grace period, because tests may share the machine
BODY = json.dumps({"text": "heart", "k": 1}).encode()


@contextmanager
def process(home: Path, code: str = "", **settings: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A real `cxr serve` and its port; `code` may patch the program before `main` runs."""
    variables = {f"CXR_SERVICE_{name.upper()}": value for name, value in settings.items()}
    environment = os.environ | {"CXR_HOME": str(home), "CXR_DEVICE": "cpu", "PYTHONUNBUFFERED": "1"} | variables
    program = ["-c", code] if code else ["-m", "cxr"]
    command = [sys.executable, *program, "serve", "--port", "0"]
    with subprocess.Popen(command, env=environment, cwd=ROOT, stderr=subprocess.PIPE, text=True) as service:
        try:
            assert service.stderr is not None
            port = next(int(found[1]) for line in service.stderr if (found := re.search(r"http://\S+:(\d+)", line)))
            yield service, port
        finally:
            service.kill()


@contextmanager
def half_sent(port: int) -> Iterator[socket.socket]:
    """A connection with a search that the service has started to read: it answered `100 Continue`."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        lines = (
            "POST /v1/search/text HTTP/1.1",
            f"Host: 127.0.0.1:{port}",
            "Content-Type: application/json",
            f"Content-Length: {len(BODY)}",
            "Expect: 100-continue",
            "",
            "",
        )
        connection.sendall("\r\n".join(lines).encode())
        assert connection.recv(65536).startswith(b"HTTP/1.1 100 ")
        yield connection


def ask(port: int, path: str = "/health/ready") -> httpx.Response:
    return httpx.get(f"http://127.0.0.1:{port}{path}", timeout=20)


def test_a_stopping_process_answers_running_requests_and_refuses_new_ones(tiny_home: Path) -> None:
    with process(tiny_home) as (service, port):
        assert ask(port).status_code == 200
        with half_sent(port) as connection:
            service.send_signal(signal.SIGTERM)
            until(lambda: ask(port).status_code == 503)
            assert ask(port).json()["reasons"] == ["draining: the service is stopping and takes no new requests"]
            assert ask(port, "/health/live").status_code == 200
            refused = ask(port, "/v1/models")
            assert_problem(refused, 503, "draining")
            assert (refused.headers["retry-after"], refused.headers["connection"]) == ("1", "close")
            assert service.poll() is None
            connection.sendall(BODY)
            answer = connection.recv(65536)
            assert answer.startswith(b"HTTP/1.1 200 ")
        assert service.wait(timeout=20) == 0
        with pytest.raises(httpx.ConnectError):
            ask(port)


def test_a_stopping_process_cuts_off_requests_that_run_too_long(tiny_home: Path) -> None:
    with process(tiny_home, shutdown_grace_s="0.5") as (service, port), half_sent(port) as connection:
        service.send_signal(signal.SIGTERM)
        started = time.monotonic()
        answer = connection.recv(65536)
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b'"code":"draining"' in answer + connection.recv(65536)
        assert service.wait(timeout=20) == 0
        assert 0.2 < time.monotonic() - started < 0.5 + MARGIN_S


@pytest.mark.parametrize("grace_s", [0, 0.2, 3])
def test_a_process_ends_within_its_grace_period_although_a_client_reads_nothing(
    tiny_home: Path, grace_s: float
) -> None:
    with process(tiny_home, shutdown_grace_s=str(grace_s)) as (service, port), socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", port))
        request = f"GET /schema/openapi.json HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n"
        connection.sendall(request.encode() * 200)
        connection.recv(1)
        time.sleep(0.5)
        started = time.monotonic()
        service.send_signal(signal.SIGTERM)
        assert service.wait(timeout=30) in (0, -signal.SIGALRM)  # the kernel ends it if it is too busy to end itself
        assert time.monotonic() - started < grace_s + MARGIN_S


@pytest.mark.parametrize("signals", [1, 2])
def test_a_process_ends_within_its_grace_period_although_the_engine_hangs(tiny_home: Path, signals: int) -> None:
    code = (
        "import sys, time\nfrom retrieval.search.retriever import Retriever\n"
        "Retriever.search_validated = lambda *_, **__: time.sleep(60)\n"
        "sys.argv[0] = 'cxr'\nfrom cxr.main import main\nmain()"
    )
    grace_s = 60 if signals == 2 else 4
    with process(tiny_home, code=code, shutdown_grace_s=str(grace_s)) as (service, port):

        def search() -> httpx.Response:
            try:
                return httpx.post(f"http://127.0.0.1:{port}/v1/search/text", content=BODY, timeout=50)
            except httpx.TransportError:
                return httpx.Response(499)

        assert ask(port).status_code == 200
        requests = ConcurrentRequests()
        requests.ask(search)
        time.sleep(1)
        started = time.monotonic()
        for _ in range(signals):
            service.send_signal(signal.SIGTERM)
            time.sleep(0.3)
        service.wait(timeout=30)
        assert time.monotonic() - started < min(grace_s, 4) + MARGIN_S
        answers = requests.wait()
        if signals == 1:  # a second signal cuts connections off and kills the process
            assert_problem(answers[0], 503, "draining")
            assert service.stderr is not None
            assert "ended without closing" in service.stderr.read()


def test_a_process_ends_within_its_grace_period_although_the_interpreter_hangs(tiny_home: Path) -> None:
    code = (
        "import atexit, ctypes, sys\natexit.register(lambda: ctypes.PyDLL(None).sleep(60))\n"
        "sys.argv[0] = 'cxr'\nfrom cxr.main import main\nmain()"
    )
    with process(tiny_home, code=code, shutdown_grace_s="2") as (service, port):
        assert ask(port).status_code == 200
        started = time.monotonic()
        service.send_signal(signal.SIGTERM)
        assert service.wait(timeout=30) == -signal.SIGALRM
        assert time.monotonic() - started < 2 + MARGIN_S


@pytest.mark.parametrize(("grace_s", "notice_s", "left_s"), [(8, 0, 8), (0, 0, 0), (8, 6, 8), (8, 8, 10), (1, 5, 5.5)])
def test_the_process_ends_after_the_grace_period_or_a_longer_notice(
    grace_s: float, notice_s: float, left_s: float
) -> None:
    drain = Drain(grace_s=grace_s, notice_s=notice_s)
    assert drain.left_s == math.inf
    drain.begin()
    assert drain.left_s == pytest.approx(left_s, abs=0.1)
    drain.cut_off_requests()
    assert drain.left_s == pytest.approx(min(2, grace_s / 2), abs=0.1)


def test_a_second_signal_stops_a_process_at_once(tiny_home: Path) -> None:
    with process(tiny_home, shutdown_grace_s="60") as (service, port), half_sent(port):
        service.send_signal(signal.SIGTERM)
        until(lambda: ask(port).status_code == 503)
        service.send_signal(signal.SIGTERM)
        service.wait(timeout=20)


def test_running_and_waiting_searches_are_answered_while_draining(catalog: Catalog) -> None:
    with GatedModel(catalog) as held, serving(catalog, concurrent_searches=1, waiting_searches=8) as live:
        requests = ConcurrentRequests()
        for _ in range(3):
            requests.ask(live.post)
        until(lambda: live.operations.drain.active == 3)
        live.operations.drain.begin()
        assert_problem(live.post(), 503, "draining")
        held.gate.set()
        assert [answer.status_code for answer in requests.wait()] == [200] * 3
        assert live.ended.wait(10)


def test_a_load_balancer_has_time_to_notice_draining(catalog: Catalog) -> None:
    with serving(catalog, drain_notice_s=0.6) as live:
        live.operations.drain.begin()
        assert_problem(live.client.get("/health/ready"), 503, "not_ready")
        assert not live.ended.wait(0.4)
        assert live.ended.wait(10)
